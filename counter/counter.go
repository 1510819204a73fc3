package counter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/lease"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// DefaultShards is how many shards there are, unless said otherwise at the
// first start.
const DefaultShards = 16

// Jobs queues the counters' work, in a transaction that is under way.
type Jobs interface {
	// Flush asks for what is pending in Redis to be written to Postgres.
	Flush(ctx context.Context, tx pgx.Tx) (job int64, err error)
	// Scan asks for the table to be summed up.
	Scan(ctx context.Context, tx pgx.Tx, scan int64) (job int64, err error)
	// Finalize asks for what a run of a scan has summed up to be swapped in, in
	// one shard.
	Finalize(ctx context.Context, tx pgx.Tx, f Finalize) (job int64, err error)
}

// Config of [Counters].
type Config struct {
	Home     *pgxpool.Pool // the primary, with the log and the counters
	Standbys []*pgxpool.Pool
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
	// Concurrency is how many scans run at once, in all processes together.
	// Defaults to 2.
	Concurrency int
	// SnapshotLimit is how long a recount keeps a snapshot open where it can be
	// divided: a table with an index that begins with the scope column, or a list
	// of scopes. A single scope takes what it takes. Defaults to
	// [DefaultSnapshotLimit].
	SnapshotLimit time.Duration
	// Lease is how long the lease of the process that feeds the shards lasts. It
	// saves double work and protects nothing. Defaults to 30 s.
	Lease time.Duration
	// CheckEvery is how often some counters are compared with their table. They
	// never differ, unless somebody has written events or counters by hand, or
	// there is a bug. Defaults to an hour; negative: never.
	CheckEvery time.Duration
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Counters are the counters of one home database. All methods are safe for
// concurrent use, in any number of processes.
//
// mu guards buf, which is nil until the namespace is known.
type Counters struct {
	cfg    Config
	log    *slog.Logger
	leaser *lease.Leaser
	// Tests choose others than finalizePatience, hostPatience, withoutRedis, swapBatch,
	// flushesSideBySide and [time.Since].
	patience     time.Duration
	hostPatience time.Duration
	askAgain     time.Duration
	swapBatch    int
	sideBySide   int
	since        func(time.Time) time.Duration

	mu  sync.Mutex
	buf *buffer
	n   int // shards

	// sampled is when counters to compare were last chosen. Only Run uses it.
	sampled time.Time
}

// New returns counters that do nothing by themselves until [Counters.Run].
func New(cfg Config) *Counters {
	cfg.Shards = cmp.Or(cfg.Shards, DefaultShards)
	cfg.Interval = cmp.Or(cfg.Interval, eventlog.DefaultTickInterval)
	cfg.FlushEvery = cmp.Or(cfg.FlushEvery, time.Second)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 2)
	cfg.SnapshotLimit = cmp.Or(cfg.SnapshotLimit, DefaultSnapshotLimit)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, time.Hour)
	leaser := lease.New(lease.Config{Client: cfg.Redis, TTL: cfg.Lease})
	return &Counters{
		cfg: cfg, leaser: leaser, log: cfg.Logger.With("component", "counters"),
		patience: finalizePatience, hostPatience: hostPatience, askAgain: withoutRedis, swapBatch: swapBatch,
		sideBySide: flushesSideBySide, since: time.Since,
	}
}

// ErrNotStarted says that no worker has begun to count in this database yet.
var ErrNotStarted = errors.New("counting has not begun: run a worker at this database")

// open reads what stays the same for as long as a database is there: its name in
// Redis, and the number of shards.
func (c *Counters) open(ctx context.Context) (buf *buffer, shards int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n > 0 {
		return c.buf, c.n, nil
	}
	var namespace string
	var n int
	if err := c.cfg.Home.QueryRow(ctx, shardsSQL.Namespace).Scan(&namespace, &n); err != nil {
		return nil, 0, fmt.Errorf("find the counters' shards: %w", err)
	}
	if n == 0 {
		return nil, 0, ErrNotStarted
	}
	if c.cfg.Redis != nil {
		c.buf = &buffer{redis: c.cfg.Redis, namespace: namespace}
	}
	c.n = n
	return c.buf, c.n, nil
}
