package counter

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"casq/counter/internal/feed"
	"casq/counter/internal/shards"
	"casq/counter/internal/tally"
	"casq/eventlog"
	"casq/internal/lease"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// DefaultShards is how many shards there are, unless said otherwise at the
// first start.
const DefaultShards = 16

// Key names a counter.
type Key = tally.Key

// ErrNotStarted says that no worker has begun to count in this database yet.
var ErrNotStarted = shards.ErrNotStarted

// Jobs queues the counters' work, in a transaction that is under way.
type Jobs interface {
	// Flush asks for what is pending in Redis to be written to Postgres.
	Flush(ctx context.Context, tx pgx.Tx) (job int64, err error)
}

// Config of [Counters].
type Config struct {
	Home *pgxpool.Pool // the primary, with the log and the counters
	// Redis holds what was not flushed yet. nil: every batch is written to
	// Postgres.
	Redis  redis.UniversalClient
	Jobs   Jobs
	Logger *slog.Logger
	// Shards is the number of shards that the first start makes; later it has no
	// effect. Defaults to [DefaultShards].
	Shards   int
	PageSize int           // events per batch; defaults to [eventlog.DefaultPageSize]
	Interval time.Duration // between two polls for a new tick; defaults to 50 ms
	// FlushEvery is how often what is pending is flushed. Defaults to 1 s.
	FlushEvery time.Duration
	// Lease is how long the lease of the process that feeds the shards lasts. It
	// saves double work and protects nothing. Defaults to 30 s.
	Lease time.Duration
	// AskAgain is how long batches go to Postgres before a Redis that does not
	// answer is asked again. Defaults to 5 s.
	AskAgain time.Duration
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Counters are the counters of one home database. All methods are safe for
// concurrent use, in any number of processes.
type Counters struct {
	cfg    Config
	log    *slog.Logger
	leaser *lease.Leaser
	feed   *feed.Feed
}

// New returns counters that do nothing by themselves until [Counters.Run].
func New(cfg Config) *Counters {
	cfg.Shards = cmp.Or(cfg.Shards, DefaultShards)
	cfg.Interval = cmp.Or(cfg.Interval, eventlog.DefaultTickInterval)
	cfg.FlushEvery = cmp.Or(cfg.FlushEvery, time.Second)
	cfg.AskAgain = cmp.Or(cfg.AskAgain, 5*time.Second)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	log := cfg.Logger.With("component", "counters")
	return &Counters{
		cfg: cfg, log: log,
		leaser: lease.New(lease.Config{Client: cfg.Redis, TTL: cfg.Lease}),
		feed: feed.New(feed.Config{
			Home: cfg.Home, Redis: cfg.Redis, Logger: log, Shards: cfg.Shards, PageSize: cfg.PageSize,
			SideBySide: flushesSideBySide, Recheck: time.Second, Hook: cfg.Hook,
		}),
	}
}

// flushesSideBySide is how many shards are flushed at once before a swap.
const flushesSideBySide = 4

// Begin makes the shards, if there are none. Errors: [eventlog.ErrNoTicks].
func (c *Counters) Begin(ctx context.Context) error { return c.feed.Begin(ctx) }

// Shards returns how many shards there are. Errors: [ErrNotStarted].
func (c *Counters) Shards(ctx context.Context) (n int, err error) { return c.feed.Shards(ctx) }

// Advance brings shards to the newest tick, in Redis and in Postgres.
func (c *Counters) Advance(ctx context.Context, shards ...int) error {
	return c.feed.Advance(ctx, shards...)
}

// Flush writes what is pending in Redis to Postgres and returns the number of
// counters that it changed. It may be called at any time, twice, or by several
// processes. An error may be about some shards only: the others were flushed.
func (c *Counters) Flush(ctx context.Context) (counters int, err error) { return c.feed.Flush(ctx) }
