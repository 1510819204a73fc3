package cursor

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"casq/eventlog"
	"casq/internal/lease"
	"casq/internal/pause"
	"casq/internal/portion"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

//go:embed cursor.sql
var cursorText string

// cursorSQL has the statements of cursor.sql.
var cursorSQL = queries.Parse[struct {
	Begin, Row, Position, Names, Epoch, AsLogin, Started, End, Take, Check, Move, Beat, LastError, Fail, Reset, Place, Lag, States string
}]("cursor", cursorText)

// A Consumer applies batches of events. Apply writes in tx and nowhere else:
// tx also moves the cursor, so the batch takes effect once or not at all.
type Consumer interface {
	Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error
}

// Config of a [Cursor].
type Config struct {
	Name     string        // of the row in casq.cursors
	Source   eventlog.DB   // where the log is read; may be a standby
	Home     *pgxpool.Pool // where effects and position are written
	Consumer Consumer
	Logger   *slog.Logger
	// Changes has it read what has changed in the sources of tracked views, instead of
	// events: see [eventlog.NewSourceReader].
	Changes bool
	// Redis has the lease that tells which cursor is active. Nil, or while it
	// does not answer: the active one's row in casq.cursors tells.
	Redis redis.UniversalClient
	// Lease is how long an active cursor may give no sign of life before
	// another takes over. Defaults to [lease.DefaultTTL].
	Lease    time.Duration
	PageSize int // events per batch; defaults to [eventlog.DefaultPageSize]
	// PageBytes is within how many bytes the events of a batch begin; defaults to
	// [eventlog.DefaultPageBytes]. Both are less while batches time out.
	PageBytes int64
	Interval  time.Duration // between two polls for a new tick; defaults to 50 ms
	// Listens: the log is Home's own, where ticks are announced. They are polled for all the same.
	Listens bool
	// Wait is the longest pause between two tries to become the active
	// cursor; each is a random part of it. A cursor that was denied waits 0.8 s
	// at most, one that has failed at least half of Wait. Defaults to 2 s.
	Wait time.Duration
	// MoveEvery is how often a position without events of its own is stored.
	// Defaults to [DefaultMoveEvery].
	MoveEvery time.Duration
	// Tries is how often a batch may fail because of its data before its events
	// are tried one by one, and what still fails is dead-lettered. Defaults to 3.
	Tries int
	// Applied is called with each batch that was committed. It must be quick. May be nil.
	Applied func(batch eventlog.Batch)
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Cursor follows the log on behalf of one consumer.
type Cursor struct {
	cfg     Config
	reader  *eventlog.Reader
	probe   *eventlog.Reader // sees whether there is anything to read
	leaser  *lease.Leaser
	scope   string // what precedes the name in Redis
	watcher watcher
	stale   time.Duration // the age of a newest tick that nobody takes ticks after
	denials lease.Denials

	place    *place       // of the records that log and leaseLog write
	log      *slog.Logger // says cursor, and the holder, which is this one
	denied   *slog.Logger // says lease, and leaves the holder to the record
	leaseLog *slog.Logger // says lease, and the holder, which is this one

	retries retryState       // with the batch that is tried now
	portion *portion.Portion // of the log that a batch has
}

// The pauses of a cursor that was denied. When a lease is released another cursor is
// active within a second, with time left for taking over.
const (
	leastWait  = 100 * time.Millisecond
	deniedWait = 800 * time.Millisecond
)

// DefaultMoveEvery is less than the lag that an alert fires for: when home has failed over, until a
// holder has found it, a log that was still seems to be as old as what was stored last.
const DefaultMoveEvery = 2 * time.Minute

// New returns a cursor that does nothing until [Cursor.Run].
func New(cfg Config) *Cursor {
	cfg.Interval = cmp.Or(cfg.Interval, eventlog.DefaultTickInterval)
	cfg.Wait = cmp.Or(cfg.Wait, 2*time.Second)
	cfg.Lease = cmp.Or(cfg.Lease, lease.DefaultTTL)
	cfg.MoveEvery = cmp.Or(cfg.MoveEvery, DefaultMoveEvery)
	cfg.Tries = cmp.Or(cfg.Tries, 3)
	cfg.PageSize = cmp.Or(cfg.PageSize, eventlog.DefaultPageSize)
	cfg.PageBytes = cmp.Or(cfg.PageBytes, eventlog.DefaultPageBytes)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	if cfg.Applied == nil {
		cfg.Applied = func(eventlog.Batch) {}
	}
	newReader := eventlog.NewReader
	if cfg.Changes {
		newReader = eventlog.NewSourceReader
	}
	c := &Cursor{
		cfg:     cfg,
		reader:  newReader(cfg.Source, cfg.PageSize),
		probe:   newReader(cfg.Source, 1),
		leaser:  lease.New(lease.Config{Client: cfg.Redis, TTL: cfg.Lease}),
		stale:   eventlog.StaleAfter,
		portion: portion.New(portion.Size{Rows: cfg.PageSize, Bytes: cfg.PageBytes}),
		watcher: newWatcher(cfg.Lease),
	}
	c.openLogs()
	return c
}

// Run follows the log until ctx is done, and returns nil then. Errors of the
// databases are logged and tried again. A log that does not continue
// ([eventlog.ErrForeign]; [eventlog.ErrLost] and [eventlog.ErrPruned] where the
// consumer is no [Rewinder]) is returned: to go on would skip events.
func (c *Cursor) Run(ctx context.Context) error {
	waiting := time.Now()
	for ctx.Err() == nil {
		held, err := c.turn(ctx, waiting)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped: what the end of ctx broke is no error
		}
		if stops(err) {
			c.log.ErrorContext(ctx, "cursor stopped, the log does not continue here", "err", err)
			return fmt.Errorf("follow the log: %w", err)
		}
		c.tell(ctx, held, err)
		if held {
			waiting = time.Now()
		}
		c.rest(ctx, err)
	}
	return nil
}

// stops tells whether an error is for an operator.
func stops(err error) bool {
	return errors.Is(err, eventlog.ErrLost) || errors.Is(err, eventlog.ErrForeign) || errors.Is(err, eventlog.ErrPruned)
}

// turn is one try to become the active cursor and, if it succeeds, following
// the log until something goes wrong. held tells whether it succeeded; if not,
// err is nil when another is active.
func (c *Cursor) turn(ctx context.Context, waiting time.Time) (held bool, err error) {
	h, err := c.obtain(ctx)
	if err != nil || h == nil {
		return false, err
	}
	c.log.InfoContext(ctx, "lease obtained, fetching events", "waited", time.Since(waiting))
	err = h.follow(ctx)
	h.release(ctx, err)
	c.log.InfoContext(ctx, "lease released, finished fetching events", "events", h.events, "held", time.Since(h.since))
	return true, err
}

// rest pauses: briefly when another is active, which may release the lease
// any time; longer after an error of one's own, so that others who might do
// better come first.
func (c *Cursor) rest(ctx context.Context, err error) {
	least, most := min(leastWait, c.cfg.Wait/2), min(deniedWait, c.cfg.Wait)
	if err != nil && !errors.Is(err, ErrFenced) && !errors.Is(err, lease.ErrLost) {
		least, most = c.cfg.Wait/2, c.cfg.Wait
	}
	_ = pause.For(ctx, least+rand.N(max(most-least, 1)))
}
