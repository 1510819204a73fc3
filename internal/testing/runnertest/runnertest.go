// Package runnertest is a coordinator of builds for tests, and what a runner says to it.
package runnertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/expect"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Smallest is a job that a runner can be given.
var Smallest = json.RawMessage(`{"steps":[{"name":"script","script":["true"]}]}`)

// Coordinator is one process' coordinator, with a server.
type Coordinator struct {
	*runner.Coordinator
	t    testing.TB
	pool *pgxpool.Pool
	// URL and Client reach its server.
	URL    string
	Client *http.Client
	// HungUp has each request whose client went away before its answer.
	HungUp chan struct{}
	// Stop ends what it does beside requests, as the end of its process begins.
	Stop func()
}

// New starts a coordinator on a migrated database. Requests are held for 20 s, siblings or
// not, unless options say otherwise.
func New(t testing.TB, pool *pgxpool.Pool, options runner.Options) *Coordinator {
	t.Helper()
	options.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
	if options.Hold == 0 {
		options.Hold = 20 * time.Second
	}
	if options.SiblingHold == 0 {
		options.SiblingHold = options.Hold
	}
	c := &Coordinator{Coordinator: runner.New(pool, options), t: t, pool: pool}
	c.HungUp = make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stop := context.AfterFunc(r.Context(), func() { c.HungUp <- struct{}{} })
		defer func() {
			// The answer may end by the same cancellation before it has come to the function.
			if stop() && r.Context().Err() != nil {
				c.HungUp <- struct{}{}
			}
		}()
		c.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.URL, c.Client = server.URL, server.Client()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { c.Run(ctx) })
	c.Stop = func() { cancel(); group.Wait() }
	t.Cleanup(c.Stop)
	return c
}

// Ticks takes ticks until the test ends.
func Ticks(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	Tick(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	ticker := eventlog.Ticker{Pool: pool, Logger: slog.New(slog.NewTextHandler(testLog{t}, nil))}
	var group sync.WaitGroup
	group.Go(func() { ticker.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
}

// Tick takes one.
func Tick(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	_, err := eventlog.Tick(t.Context(), pool, true)
	must(t, err)
}

type testLog struct{ t testing.TB }

// Write implements [io.Writer].
func (l testLog) Write(line []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(line))
	return len(line), nil
}

var must = expect.NoError

// Runner makes a runner and returns its token. Without tags it takes builds without.
func Runner(t testing.TB, pool *pgxpool.Pool, tags ...string) (token string) {
	t.Helper()
	must(t, pool.QueryRow(t.Context(), "SELECT token FROM casq.create_runner('test', tags => $1)", append([]string{}, tags...)).Scan(&token))
	return token
}

// Enqueue queues one build of project 7, and returns its id.
func Enqueue(t testing.TB, pool *pgxpool.Pool, tags ...string) int64 {
	t.Helper()
	return Pipeline(t, pool, runner.Build{Name: "build", Tags: tags})[0]
}

// Pipeline queues the builds of a pipeline of project 7, with the smallest job where none is
// named.
func Pipeline(t testing.TB, pool *pgxpool.Pool, builds ...runner.Build) []int64 {
	t.Helper()
	for i := range builds {
		if builds[i].Job == nil {
			builds[i].Job = Smallest
		}
	}
	tx, err := pool.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // committed, as a rule
	_, ids, err := runner.Enqueue(t.Context(), tx, runner.Pipeline{Project: 7, Builds: builds})
	must(t, err)
	must(t, tx.Commit(t.Context()))
	return ids
}

// Status is what a build is.
func Status(t testing.TB, pool *pgxpool.Pool, build int64) (status string) {
	t.Helper()
	must(t, pool.QueryRow(t.Context(), "SELECT status FROM casq.builds WHERE id = $1", build).Scan(&status))
	return status
}

// Body is that of a call.
type Body = map[string]any

// Answer is what a call was answered with.
type Answer struct {
	Status int
	Header http.Header
	Body   Body
}

// Build and Token are those of a build that was handed out; 0 and "" otherwise.
func (a Answer) Build() int64 {
	id, _ := a.Body["id"].(float64)
	return int64(id)
}

// Token is the job token.
func (a Answer) Token() string {
	token, _ := a.Body["token"].(string)
	return token
}

// Told is the last update that a runner keeps of the answer.
func (a Answer) Told() string { return a.Header.Get("X-GitLab-Last-Update") }

// String says what came.
func (a Answer) String() string {
	return fmt.Sprintf("%d %v, last update %q", a.Status, a.Body, a.Told())
}

// Call makes a call with a JSON body.
func (c *Coordinator) Call(ctx context.Context, method, path string, body Body) (Answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(text))
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.Client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: response.StatusCode, Header: response.Header}
	if len(data) > 0 && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		err = json.Unmarshal(data, &a.Body)
	}
	return a, err
}

// Do is a call that has to be answered.
func (c *Coordinator) Do(method, path string, body Body) Answer {
	c.t.Helper()
	a, err := c.Call(c.t.Context(), method, path, body)
	must(c.t, err)
	return a
}

// Request asks for a build as a runner whose process is its own, and which was told an
// update.
func (c *Coordinator) Request(token, told string) Answer {
	c.t.Helper()
	return c.Do(http.MethodPost, "/api/v4/jobs/request", requestBody(token, told))
}

// Ask is [Coordinator.Request] in the background.
func (c *Coordinator) Ask(ctx context.Context, token, told string) <-chan Answer {
	answers := make(chan Answer, 1)
	go func() {
		a, err := c.Call(ctx, http.MethodPost, "/api/v4/jobs/request", requestBody(token, told))
		if err != nil {
			a.Body = Body{"error": err.Error()}
		}
		answers <- a
	}()
	return answers
}

func requestBody(token, told string) Body {
	return Body{"token": token, "last_update": told, "system_id": "s_" + token[max(0, len(token)-12):]}
}

// Newest is the last update that a runner is told that finds nothing: another one, with a
// tag that nobody asks for.
func (c *Coordinator) Newest() string {
	c.t.Helper()
	Runner(c.t, c.pool) // an event
	Tick(c.t, c.pool)
	var newest int64 // the tick that shows the runner
	must(c.t, c.pool.QueryRow(c.t.Context(), `SELECT min(t.id) FROM casq.ticks AS t
		WHERE pg_visible_in_snapshot((SELECT max(xid::text::bigint) FROM casq.events WHERE kind = 'casq:builds')::text::xid8, t.snapshot)`).Scan(&newest))
	for i := 0; ; i++ { // each with tags of its own: it is known that there is nothing for others
		token := Runner(c.t, c.pool, fmt.Sprint("nobody's ", i))
		told := c.Request(token, "").Told()
		tick, _, _ := strings.Cut(told, "-")
		if id, err := strconv.ParseInt(tick, 10, 64); err == nil && id >= newest {
			return told
		}
	}
}

// Put says what a build's state is.
func (c *Coordinator) Put(build int64, token, state string) Answer {
	c.t.Helper()
	return c.Do(http.MethodPut, fmt.Sprintf("/api/v4/jobs/%d", build), Body{"token": token, "state": state})
}
