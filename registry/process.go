package registry

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"casq/internal/process"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ProcessConfig configures a [Process].
type ProcessConfig struct {
	Pool   *pgxpool.Pool
	Queue  Queue
	Logger *slog.Logger
	// ClaimTTL is how long another process's beat may stand still, on this
	// process's own clock and over a working connection, before its claims
	// are handed on. Defaults to 30 s; the beat is a third of it.
	ClaimTTL time.Duration
	// MaxAttempts is how often a version is claimed before a run that died
	// with it is not repeated. Defaults to 25, River's own limit.
	MaxAttempts int
	// SweepAside deletes what was put aside and no move keeps any more. May be nil.
	SweepAside func(ctx context.Context) error
	// Swept is called for a resource that a dead process had in hand and that no
	// job will work on again, with the claim that it had last, so that the
	// staging can be removed. May be nil.
	Swept func(ctx context.Context, kind, resourceID string, claim uuid.UUID)
}

// Process is this process as the others see it, with the claims that it holds, and
// the sweep of what dead processes had in hand. Its River client has the same id. A process
// that was taken for dead is over for good; go on with a new one.
//
// mu guards held.
type Process struct {
	*process.Process
	cfg ProcessConfig

	mu   sync.Mutex
	held map[uuid.UUID]*held
}

// NewProcess returns a process that nobody sees until it is started.
func NewProcess(cfg ProcessConfig) *Process {
	cfg.ClaimTTL = cmp.Or(cfg.ClaimTTL, 30*time.Second)
	cfg.MaxAttempts = cmp.Or(cfg.MaxAttempts, 25)
	p := &Process{cfg: cfg, held: make(map[uuid.UUID]*held)}
	p.Process = process.New(process.Config{Pool: cfg.Pool, Logger: cfg.Logger, TTL: cfg.ClaimTTL, HandOn: p.sweepDead})
	return p
}

// Context returns a context for a claim's long work: it ends with parent, with
// the process, and when the claim is found to be lost, or the resource deleted or
// replaced, or its version cancelled. The claim is watched until stop is called.
func (p *Process) Context(parent context.Context, c *Claim) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(p.Done(), func() { cancel(context.Cause(p.Done())) })
	p.mu.Lock()
	p.held[c.ID] = &held{claim: c, cancel: cancel}
	p.mu.Unlock()
	return ctx, func() {
		unhook()
		p.mu.Lock()
		delete(p.held, c.ID)
		p.mu.Unlock()
		cancel(nil)
	}
}

// Run beats, and watches the other processes and the claims that are held, until ctx
// is done or the process is lost. It does not stop for errors: a database that is away
// is no reason to cancel work.
func (p *Process) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { p.Process.Run(ctx) })
	group.Go(func() { p.Every(ctx, min(p.cfg.ClaimTTL/3, watchInterval), "claims", p.watchClaims) })
	group.Go(func() { p.Every(ctx, movesInterval, "moves", p.sweepMoves) })
	if p.cfg.SweepAside != nil {
		group.Go(func() { p.Every(ctx, asideInterval, "what was put aside", p.cfg.SweepAside) })
	}
	group.Go(func() { p.Every(ctx, countsInterval, "counts", p.moveCounts) })
	group.Wait()
}

// Stop removes the process's row. Call it when all claims were given back; those
// that were not are handed on here, or by other processes, which find them by this
// row. Where the row is gone no other process would, so they are handed on first.
func (p *Process) Stop(ctx context.Context) error {
	known, err := p.SignOff(ctx)
	if err != nil {
		return err
	}
	if !known {
		if err := p.sweepClaims(ctx); err != nil {
			return err
		}
	}
	return p.sweepDead(ctx)
}
