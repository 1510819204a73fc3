package cursor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"

	"casq/eventlog"
	"casq/internal/lease"
)

// place is where a cursor stands, as far as it knows: 0 before it was active.
type place struct{ epoch, tick atomic.Int64 }

// placed adds the place to each record. The lease logs from the background, and
// does not know it.
type placed struct {
	slog.Handler
	place *place
}

// Handle implements [slog.Handler].
func (p placed) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(slog.Int64("epoch", p.place.epoch.Load()), slog.Int64("tick", p.place.tick.Load()))
	return p.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (p placed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return placed{p.Handler.WithAttrs(attrs), p.place}
}

// WithGroup implements [slog.Handler].
func (p placed) WithGroup(name string) slog.Handler {
	return placed{p.Handler.WithGroup(name), p.place}
}

func (c *Cursor) openLogs() {
	c.place = &place{}
	base := slog.New(placed{c.cfg.Logger.Handler(), c.place}).With("pid", os.Getpid(), "cursor", c.cfg.Name)
	c.log = base.With("component", "cursor", "holder", c.leaser.ID())
	c.leaseLog = base.With("component", "lease", "holder", c.leaser.ID())
	c.denied = base.With("component", "lease")
}

// tell logs how a turn ended.
func (c *Cursor) tell(ctx context.Context, held bool, err error) {
	var fenced *FencedError
	switch {
	case err == nil, errors.Is(err, lease.ErrLost):
		// Has been told.
	case errors.As(err, &fenced):
		c.log.WarnContext(ctx, "fenced, batch rolled back", "new_epoch", fenced.New, "err", err)
	case errors.Is(err, eventlog.ErrNoTicks):
		c.log.InfoContext(ctx, "no tick was taken at the source yet, waiting")
	case held:
		c.log.ErrorContext(ctx, "batch failed, lease released", "err", err)
	default:
		c.log.WarnContext(ctx, "cannot try to obtain the lease, trying again", "err", err)
	}
}
