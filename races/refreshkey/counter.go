package refreshkey

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// Published defaults.
const (
	DefaultBatch         = 1000             // artifacts of a batch of the scan
	DefaultLock          = 10 * time.Minute // how long a flush is alone
	DefaultStale         = 2 * time.Hour    // until a batch is taken for dead
	DefaultFinalizeDelay = 10 * time.Minute
	keysTTL              = 14 * 24 * time.Hour
	// bitsPerKey limits a key of bits to 8 MB.
	bitsPerKey   = 1<<26 - 1
	cleanupBatch = 50
)

// Config of [Counters].
type Config struct {
	// DB has the tables that [Counters.Setup] makes, and artifacts (id, project,
	// size).
	DB    *pgxpool.Pool
	Redis redis.UniversalClient
	// Prefix begins all keys in Redis.
	Prefix string
	// Zero leaves the indicator away: the state before the published fix, where
	// the value is set to zero and events and the scan both add to it.
	Zero  bool
	Batch int           // defaults to [DefaultBatch]
	Lock  time.Duration // defaults to [DefaultLock]
	Stale time.Duration // defaults to [DefaultStale]
	// FinalizeDelay is how long a recount waits for late events. Zero is none.
	FinalizeDelay time.Duration
	// Hook is called at named points. May be nil.
	Hook func(point string)
}

// Counters are the sizes of projects, as published. Methods may be called
// concurrently, by any number of processes.
type Counters struct{ cfg Config }

// New returns counters.
func New(cfg Config) *Counters {
	cfg.Batch = cmp.Or(cfg.Batch, DefaultBatch)
	cfg.Lock = cmp.Or(cfg.Lock, DefaultLock)
	cfg.Stale = cmp.Or(cfg.Stale, DefaultStale)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	return &Counters{cfg}
}

var (
	//go:embed schema.sql
	schemaSQL string
	//go:embed increment.lua
	incrementLua string

	incrementScript = redis.NewScript(incrementLua)
)

// Setup makes the tables.
func (c *Counters) Setup(ctx context.Context) error {
	if _, err := c.cfg.DB.Exec(ctx, schemaSQL); err != nil {
		return fmt.Errorf("make the published tables: %w", err)
	}
	return nil
}

// Increment is by how many bytes an artifact changes its project's counter.
type Increment struct {
	Project  int64
	Artifact int64
	Amount   int64 // bytes; less than zero: a decrement
}

// key of a project's counter; all others of the project begin with it, and share
// its slot on a cluster.
func (c *Counters) key(project int64) string {
	return fmt.Sprintf("%s{project:%d}:size", c.cfg.Prefix, project)
}

func (c *Counters) flushedKey(project int64) string   { return c.key(project) + ":flushed" }
func (c *Counters) lockKey(project int64) string      { return c.key(project) + ":locked" }
func (c *Counters) refreshKey(project int64) string   { return c.key(project) + ":refresh" }
func (c *Counters) indicatorKey(project int64) string { return c.key(project) + ":refreshing" }
func (c *Counters) trackedKey(project int64) string   { return c.refreshKey(project) + ":tracked" }

func (c *Counters) bitsKey(i Increment, positive bool) string {
	sign := "-"
	if positive {
		sign = "+"
	}
	return fmt.Sprintf("%s:%s:%d", c.refreshKey(i.Project), sign, i.Artifact/bitsPerKey)
}

func (c *Counters) keys(i Increment) []string {
	return []string{
		c.key(i.Project), c.refreshKey(i.Project), c.indicatorKey(i.Project),
		c.bitsKey(i, i.Amount > 0), c.bitsKey(i, i.Amount <= 0), c.trackedKey(i.Project),
	}
}

// Add adds increments, in order and in one round trip.
func (c *Counters) Add(ctx context.Context, increments ...Increment) error {
	err := c.addOnce(ctx, increments)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		// None was added: the pipeline's only script is not there.
		if err := incrementScript.Load(ctx, c.cfg.Redis).Err(); err != nil {
			return fmt.Errorf("load script: %w", err)
		}
		err = c.addOnce(ctx, increments)
	}
	if err != nil {
		return fmt.Errorf("add %d increments: %w", len(increments), err)
	}
	return nil
}

func (c *Counters) addOnce(ctx context.Context, increments []Increment) error {
	_, err := c.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, i := range increments {
			incrementScript.EvalSha(ctx, p, c.keys(i), i.Amount, i.Artifact%bitsPerKey, int(keysTTL.Seconds()))
		}
		return nil
	})
	return err
}

// Column is a project's size as of the last flush, in bytes.
func (c *Counters) Column(ctx context.Context, project int64) (size int64, err error) {
	err = c.cfg.DB.QueryRow(ctx, "SELECT size FROM published_statistics WHERE project = $1", project).Scan(&size)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read size of project %d: %w", project, err)
	}
	return size, nil
}

// Value is a project's size with what is buffered, in bytes.
func (c *Counters) Value(ctx context.Context, project int64) (int64, error) {
	size, err := c.Column(ctx, project)
	if err != nil {
		return 0, err
	}
	buffered, err := c.cfg.Redis.Get(ctx, c.key(project)).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("read what is buffered of project %d: %w", project, err)
	}
	return size + buffered, nil
}
