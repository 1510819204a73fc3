package races

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/testing/await"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// counterKind is what is counted, by project.
const counterKind = "artifact"

// counterSite is a table of artifacts that was tracked while it was empty, and
// the Redis of those who count them.
type counterSite struct {
	url    string
	pool   *pgxpool.Pool
	redis  *servers.Redis
	client redis.UniversalClient
}

func newCounterSite(t *testing.T) *counterSite {
	t.Helper()
	db := testdb.New(t)
	return counterSiteAt(t, db.URL, db.Pool(t))
}

func counterSiteAt(t *testing.T, url string, pool *pgxpool.Pool) *counterSite {
	t.Helper()
	server := testredis.Start(t)
	s := &counterSite{url: url, pool: pool, redis: server, client: testredis.Client(t, server)}
	s.exec(t, "CREATE TABLE artifacts (id bigint PRIMARY KEY, project bigint, size bigint)")
	s.exec(t, `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'none', key_column => 'id',
		scope_column => 'project', size_column => 'size')`)
	s.tick(t)
	return s
}

func (s *counterSite) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s *counterSite) tick(t *testing.T) { t.Helper(); s.exec(t, "SELECT casq.tick(true)") }

func (s *counterSite) count(t *testing.T, sql string, args ...any) (n int64) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// put creates an artifact.
func (s *counterSite) put(t *testing.T, id, project, size int64) {
	t.Helper()
	s.exec(t, "INSERT INTO artifacts VALUES ($1, $2, $3)", id, project, size)
}

func (s *counterSite) resize(t *testing.T, id, size int64) {
	t.Helper()
	s.exec(t, "UPDATE artifacts SET size = $2 WHERE id = $1", id, size)
}

func (s *counterSite) remove(t *testing.T, ids ...int64) {
	t.Helper()
	s.exec(t, "DELETE FROM artifacts WHERE id = ANY ($1)", ids)
}

// real is what the table says.
func (s *counterSite) real(t *testing.T, project int64) int64 {
	t.Helper()
	return s.count(t, "SELECT coalesce(sum(size), 0)::bigint FROM artifacts WHERE project = $1", project)
}

// blocked waits until that many sessions of the site wait for a lock.
func (s *counterSite) blocked(t *testing.T, sessions int64) {
	t.Helper()
	awaits(t, "sessions wait for a lock", func() bool {
		return s.count(t, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= sessions
	})
}

// counterPatience is for what takes milliseconds, on a machine that does
// something else.
const counterPatience = time.Minute

// awaits polls for a condition.
func awaits(t *testing.T, what string, met func() bool) {
	t.Helper()
	await.True(t, counterPatience, what, met)
}

// recounter is one who counts and recounts: casq, or a twin. The interleaving of
// a race is the same for all.
type recounter interface {
	counts
	// start begins a recount of the projects and returns before it has read a
	// row.
	start(t *testing.T, projects ...int64)
	// scan has the recount read the table.
	scan(t *testing.T)
	// end ends it.
	end(t *testing.T)
}

type counts interface {
	// arrive has the events read that were committed so far. Nobody reads any
	// but here, unless the design makes a recount read them.
	arrive(t *testing.T)
	flush(t *testing.T)
	// flushed is what SQL readers see, live what others do.
	flushed(t *testing.T, project int64) int64
	live(t *testing.T, project int64) int64
}

// quiesce brings all to an end, and checks what everybody sees.
func quiesce(t *testing.T, r counts, want map[int64]int64) {
	t.Helper()
	r.arrive(t)
	for _, project := range slices.Sorted(maps.Keys(want)) {
		if got := r.live(t, project); got != want[project] {
			t.Errorf("project %d: live value %d, want %d", project, got, want[project])
		}
	}
	r.flush(t)
	for _, project := range slices.Sorted(maps.Keys(want)) {
		if got := r.flushed(t, project); got != want[project] {
			t.Errorf("project %d: flushed value %d, want %d", project, got, want[project])
		}
	}
}

// ours is casq: one process that follows the log, as far as it is let, and one
// that does the jobs.
type ours struct {
	*counterSite
	queue    *heldJobs
	reads    *gate   // of the one that follows
	points   *points // of the one that works
	follower *counter.Counters
	counters *counter.Counters // of the one that works
	worker   *recount.Recounts
	process  uuid.UUID
	started  *stop
	scanned  chan error
}

// ours begins to count.
func (s *counterSite) ours(t *testing.T, change ...func(*counter.Config, *recount.Config)) *ours {
	t.Helper()
	o := &ours{counterSite: s, queue: &heldJobs{}, reads: newGate(), points: newPoints(), process: uuid.New()}
	cfg := counter.Config{
		Home: s.pool, Redis: s.client, Jobs: o.queue, Logger: raceLog(t), Shards: 3,
		Interval: 5 * time.Millisecond, FlushEvery: 10 * time.Millisecond, Lease: time.Minute,
	}
	scans := recount.Config{Home: s.pool, Jobs: o.queue, Logger: raceLog(t), Interval: 5 * time.Millisecond, CheckEvery: -1, Hook: o.points.hook}
	for _, f := range change {
		f(&cfg, &scans)
	}
	working := cfg
	cfg.Hook = o.reads.hook
	working.Hook = o.points.hook
	o.follower, o.counters = counter.New(cfg), counter.New(working)
	scans.Counters = o.counters
	o.worker = recount.New(scans)
	s.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'race', 1)", o.process)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); o.follower.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		o.reads.open()
		o.points.releaseAll()
		<-ended
	})
	awaits(t, "counting begins", func() bool { return s.count(t, "SELECT count(*) FROM casq.counter_shards") > 0 })
	return o
}

// heldJobs is a queue whose jobs are done when a race says so.
//
// mu guards the rest.
type heldJobs struct {
	mu        sync.Mutex
	last      int64
	scans     []int64
	finalizes []recount.Finalize
}

// Flush implements [counter.Jobs]. Races flush by themselves.
func (q *heldJobs) Flush(context.Context, pgx.Tx) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	return q.last, nil
}

// Scan implements [recount.Jobs].
func (q *heldJobs) Scan(_ context.Context, _ pgx.Tx, scan int64) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	q.scans = append(q.scans, scan)
	return q.last, nil
}

// Finalize implements [recount.Jobs].
func (q *heldJobs) Finalize(_ context.Context, _ pgx.Tx, f recount.Finalize) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	q.finalizes = append(q.finalizes, f)
	return q.last, nil
}

// scan takes the oldest scan that is queued.
func (q *heldJobs) scan(t *testing.T) int64 {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.scans) == 0 {
		t.Fatal("no scan is queued")
	}
	scan := q.scans[0]
	q.scans = q.scans[1:]
	return scan
}

// finalize takes the oldest swap that is queued.
func (q *heldJobs) finalize(t *testing.T) recount.Finalize {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.finalizes) == 0 {
		t.Fatal("no swap is queued")
	}
	f := q.finalizes[0]
	q.finalizes = q.finalizes[1:]
	return f
}

// gate lets whoever has read events pass only while it is open, or one by one.
//
// mu guards passable, which is closed while the gate is open.
type gate struct {
	once     chan struct{}
	mu       sync.Mutex
	passable chan struct{}
	isOpen   bool
}

func newGate() *gate { return &gate{once: make(chan struct{}), passable: make(chan struct{})} }

// pass lets one pass, when it comes.
func (g *gate) pass() { g.once <- struct{}{} }

func (g *gate) hook(point string) {
	if point != "feed:read" {
		return
	}
	g.mu.Lock()
	passable := g.passable
	g.mu.Unlock()
	select {
	case <-passable:
	case <-g.once:
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen {
		g.isOpen = true
		close(g.passable)
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen {
		g.isOpen = false
		g.passable = make(chan struct{})
	}
}

func (o *ours) arrive(t *testing.T) {
	t.Helper()
	o.reads.open()
	defer o.reads.close()
	o.caughtUp(t)
}

// caughtUp waits until everybody who asks is told what is in the log now.
func (o *ours) caughtUp(t *testing.T) {
	t.Helper()
	o.tick(t)
	newest := o.count(t, "SELECT max(id) FROM casq.ticks")
	awaits(t, "the events so far are counted", func() bool {
		for project := range int64(raceProjects) {
			v, err := o.counters.Get(t.Context(), scope(project))
			if err != nil || !v.Live || v.AsOf.InStep() || o.count(t, `SELECT count(*) FROM casq.ticks AS n, casq.ticks AS at, casq.events AS e
				WHERE n.id = $1 AND at.id = $2 AND pg_visible_in_snapshot(e.xid, n.snapshot)
				AND NOT pg_visible_in_snapshot(e.xid, at.snapshot)`, newest, v.AsOf.Tick) > 0 {
				return false
			}
		}
		return true
	})
}

// raceProjects is enough that each shard has one.
const raceProjects = 8

func scope(project int64) counter.Key {
	return counter.Key{Kind: counterKind, ScopeID: strconv.FormatInt(project, 10)}
}

func (o *ours) flush(t *testing.T) {
	t.Helper()
	if _, err := o.counters.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ask asks for a recount, which is queued.
func (o *ours) ask(t *testing.T, projects ...int64) (refreshes []int64) {
	t.Helper()
	r := recount.Request{Kind: counterKind, All: len(projects) == 0}
	for _, project := range projects {
		r.Scopes = append(r.Scopes, strconv.FormatInt(project, 10))
	}
	_, refreshes, err := o.worker.Refresh(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return refreshes
}

func (o *ours) start(t *testing.T, projects ...int64) {
	t.Helper()
	o.ask(t, projects...)
	o.run(t, "scan:started")
}

// run runs the next scan as far as the point.
func (o *ours) run(t *testing.T, point string) {
	t.Helper()
	o.started, o.scanned = o.points.stopAt(point), make(chan error, 1)
	scan := o.queue.scan(t)
	ctx := t.Context()
	go func() { o.scanned <- o.worker.Scan(ctx, scan, 1, o.process) }()
	o.started.wait(t)
}

func (o *ours) scan(t *testing.T) {
	t.Helper()
	if err := o.tryScan(t); err != nil {
		t.Fatal(err)
	}
}

// tryScan lets the scan go on and returns how it ends.
func (o *ours) tryScan(t *testing.T) error {
	t.Helper()
	o.started.release()
	select {
	case err := <-o.scanned:
		return err
	case <-time.After(counterPatience):
		t.Fatal("the scan does not end")
		return nil
	}
}

func (o *ours) end(t *testing.T) {
	t.Helper()
	o.swap(t, o.queue.finalize(t))
}

// swap tries, as the job does, until the log is as far as the scan was. Ticks are
// taken all the time where casq runs.
func (o *ours) swap(t *testing.T, f recount.Finalize) {
	t.Helper()
	awaits(t, "the swap", func() bool {
		o.exec(t, "SELECT casq.tick()")
		err := o.worker.Finalize(t.Context(), f, 2)
		if err != nil && !errors.Is(err, recount.ErrNotReady) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// recount does one from beginning to end.
func (o *ours) recount(t *testing.T, projects ...int64) {
	t.Helper()
	o.start(t, projects...)
	o.scan(t)
	o.end(t)
}

func (o *ours) flushed(t *testing.T, project int64) int64 {
	t.Helper()
	return o.count(t, "SELECT coalesce(sum(size), 0)::bigint FROM casq.statistics WHERE kind = $1 AND scope_id = $2",
		counterKind, strconv.FormatInt(project, 10))
}

func (o *ours) live(t *testing.T, project int64) int64 {
	t.Helper()
	v, err := o.counters.Get(t.Context(), scope(project))
	if err != nil {
		t.Fatal(err)
	}
	return v.Size.Int64()
}

// quiesceReal is quiesceValues, and no recount has failed or is left.
func (o *ours) quiesceReal(t *testing.T, projects ...int64) {
	t.Helper()
	o.quiesceValues(t, projects...)
	o.wantDone(t)
}

// quiesceValues is quiesce with what the table says.
func (o *ours) quiesceValues(t *testing.T, projects ...int64) {
	t.Helper()
	want := map[int64]int64{}
	for _, project := range projects {
		want[project] = o.real(t, project)
	}
	quiesce(t, o, want)
	for _, project := range projects {
		items := o.count(t, "SELECT count(*) FROM artifacts WHERE project = $1", project)
		got := o.count(t, "SELECT coalesce(sum(items), 0)::bigint FROM casq.statistics WHERE scope_id = $1", strconv.FormatInt(project, 10))
		if got != items {
			t.Errorf("project %d: %d items, want %d", project, got, items)
		}
	}
}

// wantDone checks that no recount is left open, and none has failed.
func (o *ours) wantDone(t *testing.T) {
	t.Helper()
	if left := lines(t, o.pool, `SELECT id || ' ' || state || coalesce(' ' || reason, '') FROM casq.refreshes
		WHERE state NOT IN ('done', 'cancelled') ORDER BY id`); left != "" {
		t.Errorf("recounts that are not done:\n%s", left)
	}
}

// state tells a recount's state and, when it has not been done, why.
func (o *ours) state(t *testing.T, refresh int64) (state, reason string) {
	t.Helper()
	err := o.pool.QueryRow(t.Context(), "SELECT state, coalesce(reason, '') FROM casq.refreshes WHERE id = $1", refresh).Scan(&state, &reason)
	if err != nil {
		t.Fatal(err)
	}
	return state, reason
}
