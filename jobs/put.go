package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"casq/registry"
	"casq/transfer"
)

// put carries out the run's one write to the place, and ends the run: every run that
// succeeds, and has anything to write or to remove, comes to its end here. Where the
// place is fenced both are one transaction, in which the row is locked. A bucket's
// server may take minutes, too long for a lock, and does not obey it anyway: there
// the write comes first. What may land late is found afterwards, by checks that
// are queued before the write, so that they cannot be lost with this process.
func (w *Worker) put(ctx context.Context, claim *registry.Claim, result registry.Result, mover Transfer, run *guarded, write func(context.Context) error) error {
	if target, ok := mover.(unfenced); !ok || !target.Unfenced() {
		return w.cfg.Registry.Publish(claim, result, run.do(write))
	}
	if d, ok := run.run.(contested); ok && (d.Contested() || claim.Attempts > 1) {
		if err := w.checkLater(ctx, claim.Token, w.cfg.ClaimTTL, lateCheck); err != nil {
			return err
		}
	}
	err := run.do(write)(ctx)
	if errors.Is(err, transfer.ErrFenced) {
		return w.fencedTooLate(ctx, claim, err)
	}
	if err != nil {
		return err // the next run finds that this one had no answer
	}
	return w.cfg.Registry.Publish(claim, result, nil)
}

// guarded keeps a publication that was given up, on a target that hangs, from
// running beside the closing of its run, or after it. A run that cannot be
// closed leaves its staging to the next one.
//
// mu guards closed, and is held by whoever uses run.
type guarded struct {
	run transfer.Run
	// A publication runs in a goroutine of its own: a panic there would be the
	// end of the whole process.
	recovered func(context.Context, func() error) error

	mu     sync.Mutex
	closed bool
}

var errClosed = errors.New("given up before it began")

func (g *guarded) do(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return errClosed
		}
		return g.recovered(ctx, func() error { return f(ctx) })
	}
}

// close returns false when the run is in use.
func (g *guarded) close(logger *slog.Logger) bool {
	if !g.mu.TryLock() {
		logger.Warn("target hangs, staging left to the next run")
		return false
	}
	defer g.mu.Unlock()
	g.closed = true
	if err := g.run.Close(); err != nil {
		logger.Warn("cannot remove staging, left to the next run", "err", err)
	}
	return true
}
