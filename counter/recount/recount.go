package recount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/eventlog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrBusy says that a scan has to wait: enough others run, an earlier recount
	// of the same scope is not over, or another session has locked the table. Try again
	// soon.
	ErrBusy = errors.New("the recount has to wait")

	// ErrSuperseded says that there is nothing to do: the recount is over, or
	// another run has it.
	ErrSuperseded = errors.New("superseded")
)

// Counters is what a recount needs of the counters that it swaps its sums into.
type Counters interface {
	// Begin makes their shards, if there are none. Errors: [eventlog.ErrNoTicks].
	Begin(ctx context.Context) error
	// Shards returns how many shards there are.
	Shards(ctx context.Context) (n int, err error)
	// Advance brings shards to the newest tick.
	Advance(ctx context.Context, shards ...int) error
}

// Jobs queues the work of recounts, in a transaction that is under way.
type Jobs interface {
	// Flush asks for what is pending in Redis to be written to Postgres.
	Flush(ctx context.Context, tx pgx.Tx) (job int64, err error)
	// Scan asks for the table to be summed up.
	Scan(ctx context.Context, tx pgx.Tx, scan int64) (job int64, err error)
	// Finalize asks for what a run of a scan has summed up to be swapped in.
	Finalize(ctx context.Context, tx pgx.Tx, f Finalize) (job int64, err error)
}

// Finalize names the run of a scan whose sums are to be swapped in.
type Finalize struct {
	Scan  int64
	Token uuid.UUID
}

// DefaultSnapshotLimit is below what a standby lets a query hold up its replay,
// unless it was told otherwise (max_standby_streaming_delay, 30 s).
const DefaultSnapshotLimit = 20 * time.Second

// Config of [Recounts].
type Config struct {
	Home     *pgxpool.Pool // the primary, with the log and the counters
	Standbys []*pgxpool.Pool
	Counters Counters
	Jobs     Jobs
	Logger   *slog.Logger
	Interval time.Duration // between two tries of what will soon do; defaults to 50 ms
	// Concurrency is how many scans run at once, in all processes together.
	// Defaults to 2.
	Concurrency int
	// SnapshotLimit is how long a recount keeps a snapshot open where it can be
	// divided: a table with an index that begins with the scope column, or a list
	// of scopes. A single scope takes what it takes. Defaults to
	// [DefaultSnapshotLimit].
	SnapshotLimit time.Duration
	// CheckEvery is how often some counters are compared with their table. They
	// never differ, unless somebody has written events or counters by hand, or
	// there is a bug. Defaults to an hour; negative: never.
	CheckEvery time.Duration
	// Differs is called when a comparison has found counters to differ from their table,
	// with their kind. It must be quick. May be nil.
	Differs func(kind string)
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

const (
	// finalizePatience is how long one call waits for the log.
	finalizePatience = 3 * time.Second
	// repeatPatience is how long a host is tried again that will soon do.
	repeatPatience = 5 * time.Second
	// lockPatience is how long a lock on the table is waited for. A snapshot is
	// open meanwhile, and a session that waits for a lock holds up those that come
	// later.
	lockPatience = 2 * time.Second
	// hostPatience is how long a host may take to answer a question that costs it
	// nothing. One that is frozen, or beyond a network that drops everything, ends
	// no connection by itself for minutes, if ever.
	hostPatience = 10 * time.Second
)

const (
	// queryCanceled is the SQLSTATE of a statement that took too long, or that
	// somebody cancelled; lockNotAvailable of one that waited too long for a lock.
	queryCanceled    = "57014"
	lockNotAvailable = "55P03"
)

// Recounts are the recounts of one home database. All methods are safe for
// concurrent use, in any number of processes.
type Recounts struct {
	cfg Config
	log *slog.Logger
	// Tests choose others than finalizePatience, hostPatience, swapBatch and
	// [time.Since].
	patience     time.Duration
	hostPatience time.Duration
	swapBatch    int
	since        func(time.Time) time.Duration
}

// New returns recounts that do nothing by themselves.
func New(cfg Config) *Recounts {
	cfg.Interval = cmp.Or(cfg.Interval, eventlog.DefaultTickInterval)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 2)
	cfg.SnapshotLimit = cmp.Or(cfg.SnapshotLimit, DefaultSnapshotLimit)
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, time.Hour)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	if cfg.Differs == nil {
		cfg.Differs = func(string) {}
	}
	return &Recounts{
		cfg: cfg, log: cfg.Logger.With("component", "counters"),
		patience: finalizePatience, hostPatience: hostPatience, swapBatch: swapBatch, since: time.Since,
	}
}

// swapBatch is about how many counters one transaction swaps, unless a shard has
// more: the shards are locked meanwhile. 16 shards of 60 counters took 0.16 s one by
// one, and take 0.02 s together.
const swapBatch = 5000

// lock keeps whoever ends the recount that a scan is or is a part of, or goes
// on with it, from doing so meanwhile. It is locked before its parts, and in a
// statement of its own: the next one sees all of them.
func lock(ctx context.Context, tx pgx.Tx, scan int64) error {
	if _, err := tx.Exec(ctx, scanSQL.Lock, scan); err != nil {
		return fmt.Errorf("lock the recount: %w", err)
	}
	return nil
}

// queue queues a scan, or queues it again.
func (r *Recounts) queue(ctx context.Context, tx pgx.Tx, scan int64) error {
	job, err := r.cfg.Jobs.Scan(ctx, tx, scan)
	if err != nil {
		return fmt.Errorf("queue scan %d: %w", scan, err)
	}
	if _, err := tx.Exec(ctx, "UPDATE casq.scans SET job = $2 WHERE id = $1", scan, job); err != nil {
		return fmt.Errorf("queue scan %d: %w", scan, err)
	}
	return nil
}
