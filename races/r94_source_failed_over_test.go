package races

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	casqdb "casq/internal/database"
	"casq/internal/testing/await"
	"casq/internal/testing/logged"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"
	"casq/jobs"
	"casq/registry"
	"casq/registry/reconcile"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// r94Lost is how many ticks, each with events, the promoted standby lacks. It
// issues all of their ids again, and some more.
const r94Lost = 40

// TestR94SourceFailedOver: the standby of the source is promoted, with all that
// was read or without the newest of it. It issues the ids of what it lacks again,
// for other events; whoever goes on by ids alone takes those for read, and keeps
// what never was. The cursor has to go on where nothing is lost, and else to go
// back, have what it did beyond looked at again, and miss nothing of the new
// history; also when home is the one that failed over, and lost its own
// position, while Redis and the process remember it. Without an operator.
func TestR94SourceFailedOver(t *testing.T) {
	t.Parallel()
	t.Run("twin/tick id alone", func(t *testing.T) {
		t.Parallel()
		r := newR94(t)
		var at int64
		r.play(t, func() { at = r.lastTick(t, r.primary) }, nil)
		got := resourcesOf(t, r.second, `SELECT resource_id FROM casq.events
			WHERE NOT pg_visible_in_snapshot(xid, (SELECT snapshot FROM casq.ticks WHERE id = $1))
			  AND pg_visible_in_snapshot(xid, (SELECT snapshot FROM casq.ticks ORDER BY id DESC LIMIT 1)) ORDER BY id`, at)
		if missed := len(r.events(t)) - len(got); missed < r94Lost {
			t.Errorf("a reader that goes on from tick %d misses %d resources of the new history, want %d at least", at, missed, r94Lost)
		}
	})
	t.Run("twin/waits for its tick", func(t *testing.T) {
		t.Parallel()
		r := newR94(t)
		var nonce string
		r.play(t, func() { nonce = lines(t, r.primary, "SELECT nonce::text FROM casq.ticks ORDER BY id DESC LIMIT 1") }, nil)
		if shown := lines(t, r.second, "SELECT id::text FROM casq.ticks WHERE nonce = '"+nonce+"'"); shown != "" {
			t.Errorf("the tick %s that it waits for has come", shown)
		}
	})
	t.Run("ours/a has all that was read", r94Whole)
	t.Run("ours/b lacks what was read", r94Lacks)
	t.Run("ours/c home itself", r94Home)
	t.Run("ours/c home itself lacks the end of a run", r94RunLost)
}

// r94 is a source with a standby, which is promoted in the course of it.
type r94 struct {
	cluster         *testdb.Cluster
	primary, second *pgxpool.Pool
	address         *r94Address
}

// r94Address is where the source is found: first the primary, then the standby.
type r94Address struct{ atomic.Pointer[pgxpool.Pool] }

func (a *r94Address) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return a.Load().Query(ctx, sql, args...)
}

func (a *r94Address) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return a.Load().QueryRow(ctx, sql, args...)
}

func (a *r94Address) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return a.Load().SendBatch(ctx, batch)
}

func newR94(t *testing.T) *r94 {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	r := &r94{cluster: cluster, second: testdb.Pool(t, cluster.StandbyURL(0))}
	r.prepare(t, testdb.Pool(t, cluster.URL()))
	return r
}

// newR94Alone is a source without a standby.
func newR94Alone(t *testing.T) *r94 {
	t.Helper()
	r := &r94{}
	r.prepare(t, testdb.New(t).Pool(t))
	return r
}

func (r *r94) prepare(t *testing.T, primary *pgxpool.Pool) {
	t.Helper()
	r.primary, r.address = primary, &r94Address{}
	r.address.Store(r.primary)
	execute(t, r.primary, `CREATE TABLE resources (key text PRIMARY KEY, n int NOT NULL DEFAULT 0)`)
	execute(t, r.primary, `SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', payload_columns => ARRAY['n'])`)
	execute(t, r.primary, `INSERT INTO resources (key) VALUES ('a'), ('b'), ('c'), ('d')`)
	r.tick(t, r.primary)
}

func (r *r94) tick(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := eventlog.Tick(t.Context(), pool, true); err != nil {
		t.Fatal(err)
	}
}

func (r *r94) lastTick(t *testing.T, pool *pgxpool.Pool) (id int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT max(id) FROM casq.ticks").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// events are the resources of all events of the new history, in order.
func (r *r94) events(t *testing.T) []string {
	t.Helper()
	return resourcesOf(t, r.second, `SELECT resource_id FROM casq.events
		WHERE xid >= pg_snapshot_xmax((SELECT snapshot FROM casq.ticks WHERE id = (SELECT began_tick - 1 FROM casq.timelines WHERE timeline = 2))) ORDER BY id`)
}

// cutOff makes the standby miss what the primary writes from now on.
func (r *r94) cutOff(t *testing.T) {
	t.Helper()
	standby := r.cluster.Standbys[0]
	if err := standby.WaitReplayed(t.Context(), r.cluster.Primary); err != nil {
		t.Fatal(err)
	}
	must(t, standby.CutOff(t.Context()))
}

func (r *r94) promote(t *testing.T) {
	t.Helper()
	if err := r.cluster.Standbys[0].Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.address.Store(r.second)
}

func (r *r94) until(t *testing.T, what string, met func() bool) {
	t.Helper()
	await.True(t, time.Minute, what, met)
}

// play loses what is read between the calls of read and late: read returns when
// everything was, late looks at a standby that does not show it yet.
func (r *r94) play(t *testing.T, read, late func()) {
	t.Helper()
	r.cutOff(t)
	execute(t, r.primary, "UPDATE resources SET n = 1 WHERE key IN ('a', 'c'); DELETE FROM resources WHERE key = 'b'")
	for i := range r94Lost {
		execute(t, r.primary, fmt.Sprintf("INSERT INTO resources (key) VALUES ('lost%d')", i))
		r.tick(t, r.primary)
	}
	read()
	if late != nil {
		r.address.Store(r.second)
		late()
	}
	r.promote(t)
	execute(t, r.second, "DELETE FROM resources WHERE key = 'c'; UPDATE resources SET n = 2 WHERE key = 'd'")
	for i := range r94Lost + 5 {
		execute(t, r.second, fmt.Sprintf("INSERT INTO resources (key) VALUES ('new%d')", i))
		r.tick(t, r.second)
	}
}

// follow starts a registry elsewhere that follows the source.
func (r *r94) follow(t *testing.T) (home *pgxpool.Pool, log *logged.Messages) {
	t.Helper()
	home = r.home(t)
	return home, r.followAgain(t, home)
}

func (r *r94) home(t *testing.T) *pgxpool.Pool {
	t.Helper()
	home, err := casqdb.Open(t.Context(), testdb.New(t).URL, casqdb.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(home.Close)
	return home
}

func (r *r94) config(t *testing.T, home *pgxpool.Pool, log *logged.Messages) cursor.Config {
	t.Helper()
	queue, err := jobs.NewQueue(home, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return cursor.Config{
		Name: "registry", Source: r.address, Home: home, Consumer: &registry.Transposer{Jobs: queue},
		Logger: slog.New(log), Interval: time.Millisecond, Wait: 20 * time.Millisecond, PageSize: 7,
	}
}

// followAgain goes on at a home that was stopped.
func (r *r94) followAgain(t *testing.T, home *pgxpool.Pool) *logged.Messages {
	t.Helper()
	log := &logged.Messages{}
	follow(t, r.config(t, home, log))
	return log
}

// followUntilStopped is follow for a cursor that goes away.
func (r *r94) followUntilStopped(t *testing.T) (home *pgxpool.Pool, stop func()) {
	t.Helper()
	home = r.home(t)
	cfg := r.config(t, home, &logged.Messages{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cursor.New(cfg).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the cursor stopped: %v", err)
		}
	})
	t.Cleanup(stop)
	return home, stop
}

// wantReal carries out what was asked for, and compares the registry with the
// table of the source as it is now.
func (r *r94) wantReal(t *testing.T, home *pgxpool.Pool) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	queue, err := jobs.NewQueue(home, quiet)
	if err != nil {
		t.Fatal(err)
	}
	process := uuid.New()
	execute(t, home, fmt.Sprintf("INSERT INTO casq.processes (id, host, pid) VALUES ('%s', 'here', 1)", process))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		reconcile.New(reconcile.Config{
			Home: home, Source: r.address, Jobs: queue, Process: process, Logger: quiet,
			PollEvery: 20 * time.Millisecond, Patience: 200 * time.Millisecond, PageSize: 9,
		}).Run(ctx)
	})
	defer group.Wait()
	defer cancel()
	r.until(t, "the reconcile has ended", func() bool {
		return lines(t, home, "SELECT count(*)::text FROM casq.reconcile_runs WHERE finished_at IS NULL") == "0"
	})
	got := lines(t, home, `SELECT resource_id || ' ' || (payload ->> 'n') FROM casq.registry WHERE deleted_at IS NULL ORDER BY resource_id`)
	want := lines(t, r.address.Load(), `SELECT key || ' ' || n FROM resources ORDER BY key COLLATE "C"`)
	wantResources(t, strings.Split(got, "\n"), strings.Split(want, "\n")...)
}

const r94Rows = "SELECT resource_id FROM casq.registry WHERE deleted_at IS NULL ORDER BY resource_id"

// r94Whole: what the old primary had was replicated.
func r94Whole(t *testing.T) {
	t.Parallel()
	r := newR94(t)
	home, log := r.follow(t)
	execute(t, r.primary, "INSERT INTO resources (key) VALUES ('e')")
	r.tick(t, r.primary)
	r.until(t, "e is read", func() bool { return strings.Contains(lines(t, home, r94Rows), "e") })
	r.cutOff(t)
	r.promote(t)
	execute(t, r.second, "INSERT INTO resources (key) VALUES ('f'); DELETE FROM resources WHERE key = 'a'")
	r.tick(t, r.second)
	r.until(t, "the log goes on", func() bool { return lines(t, home, r94Rows) == "b\nc\nd\ne\nf" })
	// Each event once. A version is drawn for each, and one more where the row is
	// there already.
	if got := lines(t, home, "SELECT last_value::text FROM casq.registry_version"); got != "8" {
		t.Errorf("6 resources and a delete gave %s versions", got)
	}
	if asked := lines(t, home, "SELECT reason FROM casq.reconcile_runs"); asked != "" || log.Count("log does not continue, went back") > 0 {
		t.Errorf("asked for a reconcile (%s) though nothing was lost", asked)
	}
}

// r94Lacks: the standby lacks what was read. Before it is promoted it is merely
// late.
func r94Lacks(t *testing.T) {
	t.Parallel()
	r := newR94(t)
	home, log := r.follow(t)
	var shared int64
	r.play(t, func() {
		last := fmt.Sprintf("lost%d", r94Lost-1)
		r.until(t, "the lost ones are read", func() bool { return strings.Contains(lines(t, home, r94Rows), last) })
	}, func() {
		shared = r.lastTick(t, r.second)
		r.until(t, "the standby is late", func() bool { return log.Count("source is late, waiting") > 0 })
		if log.Count("log does not continue, went back") > 0 {
			t.Error("went back on a standby that is late")
		}
	})
	newest := r.lastTick(t, r.second)
	r.until(t, "the new history is read", func() bool {
		return lines(t, home, fmt.Sprintf("SELECT 'so' FROM casq.cursors WHERE timeline = 2 AND tick = %d AND to_tick = 0", newest)) == "so"
	})
	if asked, want := lines(t, home, "SELECT format('%s beyond %s/%s', reason, beyond_timeline, beyond_tick) FROM casq.reconcile_runs"), fmt.Sprintf("lost beyond 1/%d", shared); asked != want {
		t.Errorf("asked for %q, want %q once", asked, want)
	}
	if at := lines(t, home, "SELECT 'so' FROM casq.reconcile_runs WHERE at_timeline = 2 AND at_tick > beyond_tick"); at != "so" {
		t.Error("the source may be looked at on a host that does not show the new timeline")
	}
	// All of the new history was applied, over what the lost one has said.
	for _, resource := range r.events(t) {
		row := lines(t, home, "SELECT timeline || ' ' || (deleted_at IS NULL) FROM casq.registry WHERE resource_id = '"+resource+"'")
		if want := fmt.Sprintf("2 %t", resource != "c"); row != want {
			t.Errorf("%s is %q, want %q", resource, row, want)
		}
	}
	// What is left of the lost one is what is looked at again.
	want := []string{"a", "b"}
	for i := range r94Lost {
		want = append(want, fmt.Sprintf("lost%d", i))
	}
	slices.Sort(want)
	wantResources(t, strings.Split(lines(t, home, `SELECT resource_id FROM casq.registry AS r, casq.reconcile_runs AS q
		WHERE r.timeline = 1 AND (r.timeline, r.tick) > (q.beyond_timeline, q.beyond_tick) ORDER BY resource_id`), "\n"), want...)
	r.wantReal(t, home)
}

// r94Home: the source is home, and position and effects are lost together. The
// process and its lease in Redis go on, with an epoch that the new primary
// issues again.
func r94Home(t *testing.T) {
	t.Parallel()
	r := newR94(t)
	execute(t, r.primary, "CREATE TABLE applied (n bigint GENERATED ALWAYS AS IDENTITY, id bigint, resource text)")
	home := r.switched(t)
	client := testredis.Client(t, testredis.Start(t))
	for range 2 { // one active, one that waits
		follow(t, cursor.Config{
			Name: "race", Source: home, Home: home, Consumer: applier{}, Redis: client, Lease: 2 * time.Second,
			Logger: slog.New(slog.DiscardHandler), Interval: time.Millisecond, Wait: 50 * time.Millisecond, PageSize: 7,
		})
	}
	applied := func(pool *pgxpool.Pool) string { return lines(t, pool, "SELECT resource FROM applied ORDER BY n") }
	r.until(t, "the log is followed", func() bool { return applied(r.primary) == "a\nb\nc\nd" })
	r.play(t, func() {
		last := fmt.Sprintf("lost%d", r94Lost-1)
		r.until(t, "the lost ones are applied", func() bool { return strings.Contains(applied(r.primary), last) })
		if err := r.cluster.Primary.Kill(); err != nil {
			t.Fatal(err)
		}
	}, nil)
	want := lines(t, r.second, "SELECT resource_id FROM casq.events ORDER BY id")
	r.until(t, "the new history is read", func() bool { return len(applied(r.second)) >= len(want) })
	wantResources(t, strings.Split(applied(r.second), "\n"), strings.Split(want, "\n")...)
}

// switched is a home that is where the source is.
func (r *r94) switched(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(r.cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	second, err := pgxpool.ParseConfig(r.cluster.StandbyURL(0))
	if err != nil {
		t.Fatal(err)
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		if r.address.Load() == r.second {
			c.Host, c.Port = second.ConnConfig.Host, second.ConnConfig.Port
			c.User, c.Password = second.ConnConfig.User, second.ConnConfig.Password
		}
		return nil
	}
	home, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(home.Close)
	return home
}
