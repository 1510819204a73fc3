package cursor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/await"
	"casq/internal/testing/logged"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// testBundle is a log, and a table of what its events have caused.
type testBundle struct {
	url  string
	pool *pgxpool.Pool
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	return newBundle(t, testdb.New(t).URL)
}

func newBundle(t *testing.T, url string) *testBundle {
	t.Helper()
	b := &testBundle{url: url, pool: testdb.Pool(t, url)}
	b.exec(t, "SELECT casq.define_kind('resource', 'none')")
	b.exec(t, "CREATE TABLE effects (n bigint GENERATED ALWAYS AS IDENTITY, resource text, tick bigint)")
	return b
}

func (b *testBundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// write commits an event for each resource in one transaction, and takes a tick.
func (b *testBundle) write(t *testing.T, resources ...string) {
	t.Helper()
	b.exec(t, "SELECT casq.append_event('resource', resource, 'updated') FROM unnest($1::text[]) AS resource", resources)
	b.tick(t)
}

func (b *testBundle) tick(t *testing.T) int64 {
	t.Helper()
	id, err := eventlog.Tick(t.Context(), b.pool, true)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// until waits for a condition.
func (b *testBundle) until(t *testing.T, condition string) {
	t.Helper()
	await.Row(t, 30*time.Second, b.pool, condition)
}

// untilEffects waits for as many effects as there are resources, and compares them
// in order.
func (b *testBundle) untilEffects(t *testing.T, resources ...string) {
	t.Helper()
	b.until(t, fmt.Sprintf("SELECT count(*) >= %d FROM effects", len(resources)))
	b.wantEffects(t, resources...)
}

func (b *testBundle) wantEffects(t *testing.T, resources ...string) {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), "SELECT resource FROM effects ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, resources) {
		t.Fatalf("effects [%s], want [%s]", strings.Join(got, " "), strings.Join(resources, " "))
	}
}

// writer is a consumer that writes down each event. Nothing keeps it from
// writing one twice.
type writer struct {
	fail func(batch eventlog.Batch) error // may be nil
}

func (w writer) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	resources := make([]string, len(batch.Events))
	for i, e := range batch.Events {
		resources[i] = e.ResourceID
	}
	_, err := tx.Exec(ctx, "INSERT INTO effects (resource, tick) SELECT resource, $2 FROM unnest($1::text[]) AS resource", resources, batch.Tick)
	if err == nil && w.fail != nil {
		err = w.fail(batch)
	}
	return err
}

// config of a cursor that is quick to notice resources.
func (b *testBundle) config(t *testing.T) Config {
	t.Helper()
	home, err := database.Open(t.Context(), b.url, database.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(home.Close)
	return Config{
		Name: "test", Source: b.pool, Home: home, Consumer: writer{}, Logger: slog.New(slog.DiscardHandler),
		Interval: time.Millisecond, Wait: 20 * time.Millisecond,
	}
}

// running is a cursor that runs.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// run runs a cursor until the test ends, or it is stopped.
func run(t *testing.T, cfg Config, change ...func(*Cursor)) *running {
	t.Helper()
	c := New(cfg)
	for _, f := range change {
		f(c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = c.Run(ctx)
	}()
	t.Cleanup(func() {
		r.cancel()
		<-r.ended
	})
	return r
}

// stop returns when the cursor has stopped, with its error.
func (r *running) stop() error {
	r.cancel()
	<-r.ended
	return r.err
}

// wait returns when the cursor has stopped by itself, with its error.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-r.ended:
		return r.err
	case <-time.After(30 * time.Second):
		t.Fatal("the cursor has not stopped")
		return nil
	}
}

// stopAt is a hook that holds the cursor at a point, once.
type stopAt struct {
	point   string
	once    sync.Once
	reached chan struct{}
	resume  chan struct{}
}

func newStop(point string) *stopAt {
	return &stopAt{point: point, reached: make(chan struct{}), resume: make(chan struct{})}
}

func (s *stopAt) hook(point string) {
	if point != s.point {
		return
	}
	s.once.Do(func() {
		close(s.reached)
		<-s.resume
	})
}

// await returns when the cursor is held.
func (s *stopAt) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.reached:
	case <-time.After(30 * time.Second):
		t.Fatalf("the cursor has not come to %s", s.point)
	}
}

// untilLogged waits until n messages with this part were logged.
func untilLogged(t *testing.T, log *logged.Messages, part string, n int) {
	t.Helper()
	await.True(t, 30*time.Second, fmt.Sprintf("%q is logged", part), func() bool { return log.Count(part) >= n })
}
