package recount

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/internal/buffer"
	"casq/counter/internal/feed"
	"casq/counter/internal/tally"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// queued is a [Jobs] that keeps what it is given; tests carry it out.
//
// mu guards the rest.
type queued struct {
	mu        sync.Mutex
	last      int64
	flushes   int
	scans     []int64
	finalizes []Finalize
}

func (q *queued) next() int64 {
	q.last++
	return q.last
}

func (q *queued) Flush(context.Context, pgx.Tx) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flushes++
	return q.next(), nil
}

func (q *queued) Scan(_ context.Context, _ pgx.Tx, scan int64) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.scans = append(q.scans, scan)
	return q.next(), nil
}

func (q *queued) Finalize(_ context.Context, _ pgx.Tx, f Finalize) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finalizes = append(q.finalizes, f)
	return q.next(), nil
}

// take returns what was queued, and forgets it.
func (q *queued) take() (scans []int64, finalizes []Finalize) {
	q.mu.Lock()
	defer q.mu.Unlock()
	scans, finalizes = q.scans, q.finalizes
	q.scans, q.finalizes = nil, nil
	return scans, finalizes
}

type testBundle struct {
	*Recounts
	*counter.Counters
	settings settings
	feeds    *feed.Feed
	db       *testdb.DB // nil: the test has servers of its own
	url      string
	pool     *pgxpool.Pool
	redis    redis.UniversalClient
	server   *servers.Redis // nil: several
	queue    *queued
	process  uuid.UUID
}

// settings are those of the recounts, and of the counters below them.
type settings struct {
	Config
	Redis                        redis.UniversalClient
	Shards, PageSize, SideBySide int
	Recheck, AskAgain            time.Duration
}

// use begins with other settings.
func (b *testBundle) use(change ...func(*settings)) {
	for _, f := range change {
		f(&b.settings)
	}
	s := &b.settings
	hook := s.Hook
	if hook == nil {
		hook = func(string) {}
	}
	b.feeds = feed.New(feed.Config{
		Home: s.Home, Redis: s.Redis, Logger: s.Logger, Shards: s.Shards, PageSize: s.PageSize,
		SideBySide: s.SideBySide, Recheck: s.Recheck, Hook: hook,
	})
	b.Counters = counter.New(counter.Config{
		Home: s.Home, Redis: s.Redis, Jobs: b.queue, Logger: s.Logger, Shards: s.Shards, PageSize: s.PageSize, AskAgain: s.AskAgain, Hook: hook,
	})
	s.Counters = b.feeds
	b.Recounts = New(s.Config)
}

// Run feeds the counters.
func (b *testBundle) Run(ctx context.Context) { b.Counters.Run(ctx) }

// open returns what the test's counters have of Redis, and how many shards there are.
func (b *testBundle) open(t testing.TB) (*buffer.Buffer, int) {
	t.Helper()
	buf, n, err := b.feeds.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return buf, n
}

// shards is how many there are.
func (b *testBundle) shards(t testing.TB) int {
	t.Helper()
	_, n := b.open(t)
	return n
}

// shardOf is the shard of an artifact's scope.
func shardOf(scope string, n int) int {
	return tally.ShardOf(tally.Key{Kind: "artifact", ScopeID: scope}, n)
}

// wipe empties Redis, on each server of a Cluster.
func (b *testBundle) wipe(t testing.TB) {
	t.Helper()
	var err error
	if cluster, ok := b.redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	} else {
		err = b.redis.FlushAll(t.Context()).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p))
	return len(p), nil
}

// setup is a table of artifacts that was tracked while it was empty, and its
// counters.
func setup(t testing.TB, change ...func(*settings)) *testBundle {
	t.Helper()
	return setupOn(t, testredis.Start(t), change...)
}

// setupOn is setup with a Redis of whatever kind.
func setupOn(t testing.TB, server interface{ URL() string }, change ...func(*settings)) *testBundle {
	t.Helper()
	db := testdb.New(t)
	b := setupAt(t, db.URL, server, change...)
	b.db = db
	return b
}

// setupAt is setup at a database of the test's own.
func setupAt(t testing.TB, url string, server interface{ URL() string }, change ...func(*settings)) *testBundle {
	t.Helper()
	client := testredis.Client(t, server)
	// Enough connections for what comes between the steps of others.
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	b := &testBundle{url: url, pool: testdb.Pool(t, url+separator+"pool_max_conns=12"), redis: client, queue: &queued{}, process: uuid.New()}
	b.server, _ = server.(*servers.Redis)
	b.settings = settings{
		Config: Config{Home: b.pool, Jobs: b.queue, Logger: slog.New(slog.NewTextHandler(testLog{t}, nil))},
		Redis:  client, Shards: 4, SideBySide: 4, Recheck: time.Second,
	}
	b.use(change...)
	b.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'test', 1)", b.process)
	b.exec(t, `CREATE TABLE artifacts (id bigint PRIMARY KEY, project bigint, size bigint)`)
	b.track(t)
	b.tick(t)
	if err := b.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *testBundle) track(t testing.TB) {
	t.Helper()
	b.exec(t, `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'none', key_column => 'id',
		scope_column => 'project', size_column => 'size')`)
}

func (b *testBundle) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (b *testBundle) tick(t testing.TB) { t.Helper(); b.exec(t, "SELECT casq.tick(true)") }

// feed brings Redis to the newest tick.
func (b *testBundle) feed(t testing.TB) {
	t.Helper()
	b.tick(t)
	b.feedFrom(t, true)
}

func (b *testBundle) feedFrom(t testing.TB, buffered bool) {
	t.Helper()
	buf, n := b.open(t)
	if !buffered {
		buf = nil
	}
	f := b.feeds.NewFeeder(buf, n, tally.All(n)...)
	for more := true; more; {
		var err error
		if more, err = f.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *testBundle) flush(t testing.TB) {
	t.Helper()
	if _, err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// recount asks for a recount and carries it out.
func (b *testBundle) recount(t testing.TB, r Request) {
	t.Helper()
	if _, _, err := b.Refresh(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	b.work(t)
}

// work carries out what is queued until nothing is.
func (b *testBundle) work(t testing.TB) {
	t.Helper()
	for range 100 {
		if !b.step(t) {
			return
		}
	}
	t.Fatal("there is always more to do")
}

// step carries out what is queued now, if there is anything.
func (b *testBundle) step(t testing.TB) bool {
	t.Helper()
	scans, finalizes := b.queue.take()
	scans = append(scans, b.unqueued(t)...)
	for _, id := range scans {
		err := b.Scan(t.Context(), id, 1, b.process)
		if errors.Is(err, ErrBusy) {
			b.queue.scans = append(b.queue.scans, id)
		} else if err != nil && !errors.Is(err, ErrSuperseded) {
			t.Fatal(err)
		}
	}
	for _, f := range finalizes {
		if err := b.Finalize(t.Context(), f, 2); err != nil && !errors.Is(err, ErrSuperseded) {
			t.Fatal(err)
		}
	}
	return len(scans)+len(finalizes) > 0
}

// unqueued gives a job to each recount that the database has asked for by itself,
// as a worker does, and returns their scans.
func (b *testBundle) unqueued(t testing.TB) []int64 {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), "UPDATE casq.scans SET job = 1 WHERE job IS NULL AND finished_at IS NULL RETURNING id")
	if err != nil {
		t.Fatal(err)
	}
	scans, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return scans
}

type pair struct{ size, items int64 }

// real is what the table says.
func (b *testBundle) real(t testing.TB) map[string]pair {
	t.Helper()
	return b.sums(t, "SELECT project::text, coalesce(sum(size), 0)::bigint, count(*) FROM artifacts WHERE project IS NOT NULL GROUP BY 1")
}

// flushedValues is what the counters say, without those that are zero.
func (b *testBundle) flushedValues(t testing.TB) map[string]pair {
	t.Helper()
	return b.sums(t, "SELECT scope_id, size::bigint, items FROM casq.statistics WHERE kind = 'artifact' AND (size, items) <> (0, 0)")
}

func (b *testBundle) sums(t testing.TB, sql string) map[string]pair {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]pair)
	var scope string
	var p pair
	_, err = pgx.ForEachRow(rows, []any{&scope, &p.size, &p.items}, func() error { values[scope] = p; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func (b *testBundle) live(t testing.TB, scope string) pair {
	t.Helper()
	v, err := b.Get(t.Context(), counter.Key{Kind: "artifact", ScopeID: scope})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Live {
		t.Fatalf("scope %s: not live, as of %s", scope, v.AsOf)
	}
	return pair{v.Size.Int64(), v.Items}
}
