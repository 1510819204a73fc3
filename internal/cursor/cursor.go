package cursor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrFenced says that another cursor has taken over: nothing of the batch took
// effect.
var ErrFenced = errors.New("fenced: another cursor has taken over")

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
	PageSize int           // events per batch; defaults to [eventlog.DefaultPageSize]
	Interval time.Duration // between two looks for a new tick; defaults to 50 ms
	// Wait is the longest pause between two tries to become the active
	// cursor; each is a random part of it. Defaults to 2 s.
	Wait time.Duration
	// MoveEvery is how often a position without events of its own is stored.
	// Defaults to 5 minutes.
	MoveEvery time.Duration
	// Tries is how often a batch may fail because of its data before its events
	// are tried one by one, and what still fails is put aside. Defaults to 3.
	Tries int
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Cursor follows the log on behalf of one consumer.
type Cursor struct {
	cfg    Config
	reader *eventlog.Reader
	log    *slog.Logger

	trouble trouble // with the batch that is tried now
}

// New returns a cursor that does nothing until [Cursor.Run].
func New(cfg Config) *Cursor {
	cfg.Interval = cmp.Or(cfg.Interval, eventlog.DefaultTickInterval)
	cfg.Wait = cmp.Or(cfg.Wait, 2*time.Second)
	cfg.MoveEvery = cmp.Or(cfg.MoveEvery, 5*time.Minute)
	cfg.Tries = cmp.Or(cfg.Tries, 3)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	return &Cursor{
		cfg:    cfg,
		reader: eventlog.NewReader(cfg.Source, cfg.PageSize),
		log:    cfg.Logger.With("component", "cursor", "cursor", cfg.Name),
	}
}

// Run follows the log until ctx is done, and returns nil then. Errors of the
// databases are logged and tried again. A position that the source has lost
// ([eventlog.ErrLost], [eventlog.ErrForeign], [eventlog.ErrPruned]) is
// returned: to go on from it would skip events.
func (c *Cursor) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := c.turn(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped: what the end of ctx broke is no error
		}
		switch {
		case errors.Is(err, eventlog.ErrLost), errors.Is(err, eventlog.ErrForeign), errors.Is(err, eventlog.ErrPruned):
			c.log.ErrorContext(ctx, "cursor stopped, the log does not continue here", "err", err)
			return fmt.Errorf("follow the log: %w", err)
		case errors.Is(err, eventlog.ErrNoTicks):
			c.log.InfoContext(ctx, "no tick was taken at the source yet, waiting")
		case errors.Is(err, ErrFenced):
			c.log.WarnContext(ctx, "fenced, batch rolled back", "err", err)
		case err != nil:
			c.log.ErrorContext(ctx, "batch failed, lease released", "err", err)
		}
		pause(ctx, c.cfg.Wait/2+rand.N(c.cfg.Wait/2))
	}
	return nil
}

// turn is one try to become the active cursor and, if it succeeds, following
// the log until something goes wrong. It returns nil when another is active.
func (c *Cursor) turn(ctx context.Context) error {
	h, err := c.hold(ctx)
	if err != nil || h == nil {
		return err
	}
	defer h.release()
	c.log.InfoContext(ctx, "lease obtained, fetching events", "epoch", h.epoch, "tick", h.stored.Tick)
	return h.follow(ctx)
}

// pause returns after d or when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
