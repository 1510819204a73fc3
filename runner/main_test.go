package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a coordinator on a database of its own.
type bench struct {
	t    testing.TB
	pool *pgxpool.Pool
	url  string
	// client has as many connections as there are requests.
	client *http.Client
	c      *runner.Coordinator
	stop   func() // ends Run and waits for it
}

func newBench(t testing.TB, options runner.Options) *bench {
	t.Helper()
	return benchOn(t, testdb.New(t).Pool(t), options)
}

func benchOn(t testing.TB, pool *pgxpool.Pool, options runner.Options) *bench {
	t.Helper()
	options.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
	if options.Hold == 0 {
		options.Hold = 20 * time.Second
	}
	if options.SiblingHold == 0 {
		options.SiblingHold = options.Hold
	}
	_, err := eventlog.Tick(t.Context(), pool, true)
	must(t, err)
	b := &bench{t: t, pool: pool, c: runner.New(pool, options)}
	server := httptest.NewServer(b.c)
	t.Cleanup(server.Close)
	b.url, b.client = server.URL, server.Client()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { b.c.Run(ctx); done <- struct{}{} }()
	ticker := eventlog.Ticker{Pool: pool, Logger: options.Logger}
	go func() { ticker.Run(ctx); done <- struct{}{} }()
	stopped := false
	b.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
			<-done
		}
	}
	t.Cleanup(b.stop)
	return b
}

type testLog struct{ t testing.TB }

func (l testLog) Write(line []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(line))
	return len(line), nil
}

// runner makes a runner and returns its token.
func (b *bench) runner(tags ...string) string {
	b.t.Helper()
	if tags == nil {
		tags = []string{}
	}
	var token string
	must(b.t, b.pool.QueryRow(b.t.Context(), "SELECT token FROM casq.create_runner('test', tags => $1)", tags).Scan(&token))
	return token
}

// enqueue queues one build, and returns its id.
func (b *bench) enqueue(tags ...string) int64 {
	b.t.Helper()
	return b.pipeline(runner.Pipeline{Project: 7, Builds: []runner.Build{{Name: "build", Tags: tags, Job: smallest}}})[0]
}

var smallest = json.RawMessage(`{"steps":[{"name":"script","script":["true"]}]}`)

func (b *bench) pipeline(p runner.Pipeline) []int64 {
	b.t.Helper()
	tx, err := b.pool.Begin(b.t.Context())
	must(b.t, err)
	defer tx.Rollback(context.WithoutCancel(b.t.Context()))
	_, ids, err := runner.Enqueue(b.t.Context(), tx, p)
	must(b.t, err)
	must(b.t, tx.Commit(b.t.Context()))
	return ids
}

// answer is what a call was answered with.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answer) id() int64 {
	id, _ := a.body["id"].(float64)
	return int64(id)
}

func (a answer) token() string {
	token, _ := a.body["token"].(string)
	return token
}

// call makes a call as a runner does.
func (b *bench) call(ctx context.Context, method, path string, body any) (answer, error) {
	b.t.Helper()
	text, err := json.Marshal(body)
	must(b.t, err)
	request, err := http.NewRequestWithContext(ctx, method, b.url+path, bytes.NewReader(text))
	must(b.t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header}
	if len(data) > 0 {
		must(b.t, json.Unmarshal(data, &a.body))
	}
	return a, nil
}

type body = map[string]any

func (b *bench) do(method, path string, body any) answer {
	b.t.Helper()
	a, err := b.call(b.t.Context(), method, path, body)
	must(b.t, err)
	return a
}

// request asks for a build, with what was last heard.
func (b *bench) request(token, told string) answer {
	b.t.Helper()
	return b.do("POST", "/api/v4/jobs/request", body{"token": token, "last_update": told, "system_id": "s_" + token[len(token)-8:]})
}

// status reads what a build is.
func (b *bench) status(id int64) string {
	b.t.Helper()
	var status string
	must(b.t, b.pool.QueryRow(b.t.Context(), "SELECT status FROM casq.builds WHERE id = $1", id).Scan(&status))
	return status
}
