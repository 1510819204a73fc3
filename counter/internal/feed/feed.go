// Package feed brings what the log tells into the counters: a [Feeder] adds batches of
// events to the shards in Redis, or in Postgres where there is no Redis; a flush takes
// what is in Redis to Postgres.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/shards"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// Config of a [Feed].
type Config struct {
	Home     *pgxpool.Pool
	Redis    redis.UniversalClient // nil: there is none
	Logger   *slog.Logger
	Shards   int // made at the first start
	PageSize int // events per batch
	// SideBySide is how many shards [Feed.Advance] flushes at once. Most of a flush
	// is round trips, and waiting for the disk.
	SideBySide int
	// Recheck is how soon it is noticed that a shard's keys were evicted while
	// nothing happened.
	Recheck time.Duration
	Hook    func(point string)
}

// Feed is the shards of one home database. All methods are safe for concurrent
// use, in any number of processes.
//
// mu guards buf, which is nil until the namespace is known, and n.
type Feed struct {
	cfg Config

	mu  sync.Mutex
	buf *buffer.Buffer
	n   int // shards
}

// New returns a feed that does nothing by itself.
func New(cfg Config) *Feed { return &Feed{cfg: cfg} }

// Open reads what stays the same for as long as a database is there: its name in
// Redis, and the number of shards. Errors: [shards.ErrNotStarted].
func (f *Feed) Open(ctx context.Context) (buf *buffer.Buffer, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n > 0 {
		return f.buf, f.n, nil
	}
	namespace, n, err := shards.Namespace(ctx, f.cfg.Home)
	if err != nil {
		return nil, 0, err
	}
	if f.cfg.Redis != nil {
		f.buf = buffer.New(f.cfg.Redis, namespace)
	}
	f.n = n
	return f.buf, f.n, nil
}

// Shards returns how many shards there are. Errors: [shards.ErrNotStarted].
func (f *Feed) Shards(ctx context.Context) (n int, err error) {
	_, n, err = f.Open(ctx)
	return n, err
}

// Begin makes the shards, if there are none. Errors: [eventlog.ErrNoTicks].
func (f *Feed) Begin(ctx context.Context) error {
	_, _, err := f.Open(ctx)
	if errors.Is(err, shards.ErrNotStarted) {
		return shards.Begin(ctx, f.cfg.Home, f.cfg.Shards, f.cfg.Logger)
	}
	return err
}
