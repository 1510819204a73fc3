// Package countertest gives a test a table of artifacts whose sizes are counted, with a
// database and a Redis of its own, and runs each step of the counters by hand.
package countertest

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/internal/buffer"
	"casq/counter/internal/feed"
	"casq/counter/internal/tally"
	"casq/internal/testing/await"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// Settings of a [Bundle].
type Settings struct {
	Home                         *pgxpool.Pool
	Redis                        redis.UniversalClient
	Jobs                         counter.Jobs
	Logger                       *slog.Logger
	Shards, PageSize, SideBySide int
	Recheck, AskAgain            time.Duration
	Hook                         func(point string) // may be nil
}

// Bundle is a table of artifacts that was tracked while it was empty, and its counters.
// Pool and Redis are the test's own connections, whatever the counters are given.
type Bundle struct {
	*counter.Counters
	Settings Settings
	Feeds    *feed.Feed // the same counters, step by step
	DB       *testdb.DB // nil: the test has servers of its own
	URL      string
	Pool     *pgxpool.Pool
	Redis    redis.UniversalClient
	Server   *servers.Redis // nil: several
}

// New returns a bundle with a Redis of its own.
func New(t testing.TB, change ...func(*Settings)) *Bundle {
	t.Helper()
	return On(t, testredis.Start(t), change...)
}

// On is [New] with a Redis of whatever kind.
func On(t testing.TB, server interface{ URL() string }, change ...func(*Settings)) *Bundle {
	t.Helper()
	db := testdb.New(t)
	b := At(t, db.URL, server, change...)
	b.DB = db
	return b
}

// At is [On] at a database of the test's own.
func At(t testing.TB, url string, server interface{ URL() string }, change ...func(*Settings)) *Bundle {
	t.Helper()
	client := testredis.Client(t, server)
	// Enough connections for what comes between the steps of others.
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	b := &Bundle{URL: url, Pool: testdb.Pool(t, url+separator+"pool_max_conns=12"), Redis: client}
	b.Server, _ = server.(*servers.Redis)
	b.Settings = Settings{
		Home: b.Pool, Redis: client, Jobs: noFlush{}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Shards: 4, SideBySide: 4, Recheck: time.Second,
	}
	b.Use(change...)
	b.Exec(t, `CREATE TABLE artifacts (id bigint PRIMARY KEY, project bigint, size bigint)`)
	b.Track(t)
	b.Tick(t)
	if err := b.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Use begins with other settings.
func (b *Bundle) Use(change ...func(*Settings)) {
	for _, f := range change {
		f(&b.Settings)
	}
	s := b.Settings
	if s.Hook == nil {
		s.Hook = func(string) {}
	}
	b.Feeds = feed.New(feed.Config{
		Home: s.Home, Redis: s.Redis, Logger: s.Logger, Shards: s.Shards, PageSize: s.PageSize,
		SideBySide: s.SideBySide, Recheck: s.Recheck, Hook: s.Hook,
	})
	b.Counters = counter.New(counter.Config{
		Home: s.Home, Redis: s.Redis, Jobs: s.Jobs, Logger: s.Logger, Shards: s.Shards, PageSize: s.PageSize,
		AskAgain: s.AskAgain, Hook: s.Hook,
	})
}

// noFlush carries no flush out: tests flush when they mean to.
type noFlush struct{}

func (noFlush) Flush(context.Context, pgx.Tx) (int64, error) { return 1, nil }

// Open returns what the counters have of Redis, and how many shards there are.
func (b *Bundle) Open(t testing.TB) (*buffer.Buffer, int) {
	t.Helper()
	buf, n, err := b.Feeds.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return buf, n
}

// ShardOf is the shard, of n, of an artifact's scope.
func ShardOf(scope string, n int) int {
	return tally.ShardOf(tally.Key{Kind: "artifact", ScopeID: scope}, n)
}

// Wipe empties Redis, on each server of a Cluster.
func (b *Bundle) Wipe(t testing.TB) {
	t.Helper()
	var err error
	if cluster, ok := b.Redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	} else {
		err = b.Redis.FlushAll(t.Context()).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Exec executes a statement.
func (b *Bundle) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.Pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Track tracks the table of artifacts, whose scopes are projects.
func (b *Bundle) Track(t testing.TB) {
	t.Helper()
	b.Exec(t, `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'none', key_column => 'id',
		scope_column => 'project', size_column => 'size')`)
}

// Tick takes a tick.
func (b *Bundle) Tick(t testing.TB) { t.Helper(); b.Exec(t, "SELECT casq.tick(true)") }

// Feed brings Redis to a new tick.
func (b *Bundle) Feed(t testing.TB) {
	t.Helper()
	b.Tick(t)
	b.FeedInto(t, true)
}

// FeedInto brings Redis (buffered), or Postgres, to the newest tick.
func (b *Bundle) FeedInto(t testing.TB, buffered bool) {
	t.Helper()
	if err := b.TryFeed(t.Context(), buffered); err != nil {
		t.Fatal(err)
	}
}

// TryFeed is [Bundle.FeedInto], which may fail.
func (b *Bundle) TryFeed(ctx context.Context, buffered bool) error {
	buf, n, err := b.Feeds.Open(ctx)
	if err != nil {
		return err
	}
	if !buffered {
		buf = nil
	}
	f := b.Feeds.NewFeeder(buf, n, tally.All(n)...)
	for more := true; more && err == nil; {
		more, err = f.Round(ctx)
	}
	return err
}

// FlushAll takes to Postgres what is in Redis.
func (b *Bundle) FlushAll(t testing.TB) {
	t.Helper()
	if _, err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Until polls for a condition.
func (b *Bundle) Until(t testing.TB, met func() bool) {
	t.Helper()
	await.True(t, 30*time.Second, "it is so", met)
}
