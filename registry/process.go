package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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
	// Swept is called for a resource that a dead process had in hand and that no
	// job will work on again, with the claim that it had last, so that the
	// staging can be removed. May be nil.
	Swept func(ctx context.Context, kind, resourceID string, claim uuid.UUID)
}

// timelineSQL is the timeline of the server that answers, which writes.
const timelineSQL = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer"

// Process is this process as the others see it: a row of casq.processes that
// it keeps alive, and the watch it keeps over the others. Its River client has
// the same id. A process that was taken for dead is over for good; go on with
// a new one.
//
// mu guards held.
type Process struct {
	cfg     ProcessConfig
	tracker tracker
	id      uuid.UUID
	ctx     context.Context // ends when the process is lost or stopped
	cancel  context.CancelCauseFunc
	// timeline is home's at the start.
	timeline int32

	mu   sync.Mutex
	held map[uuid.UUID]*held
}

// NewProcess returns a process that nobody sees until [Process.Start].
func NewProcess(cfg ProcessConfig) *Process {
	cfg.ClaimTTL = cmp.Or(cfg.ClaimTTL, 30*time.Second)
	cfg.MaxAttempts = cmp.Or(cfg.MaxAttempts, 25)
	p := &Process{
		cfg:     cfg,
		tracker: tracker{ttl: cfg.ClaimTTL, gap: cfg.ClaimTTL / 2},
		id:      uuid.New(),
		held:    make(map[uuid.UUID]*held),
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// ID is never used again, by this process or another.
func (p *Process) ID() uuid.UUID { return p.id }

// Done is a context that ends when this process was taken for dead, or was
// stopped.
func (p *Process) Done() context.Context { return p.ctx }

// Context returns a context for a claim's long work: it ends with parent, with
// the process, and when the claim is found to be lost, or the resource deleted or
// replaced, or its version cancelled. The claim is watched until stop is called.
func (p *Process) Context(parent context.Context, c *Claim) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(p.ctx, func() { cancel(context.Cause(p.ctx)) })
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

// Start makes the process known. Claims are granted from then on.
func (p *Process) Start(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	err = p.cfg.Pool.QueryRow(ctx, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, $2, $3) RETURNING "+timelineSQL,
		p.id, host, os.Getpid()).Scan(&p.timeline)
	if err != nil {
		return fmt.Errorf("register process: %w", err)
	}
	return nil
}

// Run beats and watches until ctx is done or the process is lost. It does not
// stop for errors: a database that is away is no reason to cancel work. Beating
// waits for nothing else: handing on what a dead process had can take longer
// than this one may stand still.
func (p *Process) Run(ctx context.Context) {
	var group sync.WaitGroup
	third := p.cfg.ClaimTTL / 3
	group.Go(func() { p.every(ctx, third, "beat", p.beat) })
	group.Go(func() { p.every(ctx, third, "watch", p.watch) })
	group.Go(func() { p.every(ctx, min(third, watchInterval), "claims", p.watchClaims) })
	group.Wait()
}

func (p *Process) every(ctx context.Context, interval time.Duration, what string, round func(context.Context) error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for p.ctx.Err() == nil {
		if err := round(ctx); err != nil && ctx.Err() == nil {
			p.cfg.Logger.WarnContext(ctx, "a round of the process failed, trying again", "component", "process", "round", what, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.ctx.Done():
		case <-ticker.C:
		}
	}
}

// Stop removes the process's row. Call it when all claims were given back;
// those that were not are handed on by the others, which find them by this row. Where
// somebody has deleted it, nobody finds them.
func (p *Process) Stop(ctx context.Context) error {
	p.cancel(context.Canceled)
	tag, err := p.cfg.Pool.Exec(ctx, "UPDATE casq.processes SET dead_at = clock_timestamp() WHERE id = $1", p.id)
	if err != nil {
		return fmt.Errorf("sign off process: %w", err)
	}
	if tag.RowsAffected() == 0 {
		if err := p.sweepClaims(ctx); err != nil {
			return err
		}
	}
	return p.sweepDead(ctx)
}

// watch is one look at all that may be dead: processes, and what they left.
func (p *Process) watch(ctx context.Context) error {
	if err := p.watchOthers(ctx); err != nil {
		return err
	}
	return p.sweepDead(ctx)
}

// beat moves the beat on. Without a row that counts, all work is cancelled:
// others have the claims, or soon will.
//
// So it is when home's timeline is another one than at the start: another server
// was promoted, which may lack the end of what this process has done. A run that
// has given its claim back has it there again, and a job that was completed runs
// again, in the name of a process that lives and knows of neither.
func (p *Process) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	var timeline int32
	err := p.cfg.Pool.QueryRow(ctx, `UPDATE casq.processes SET beat = beat + 1, beat_at = clock_timestamp()
		WHERE id = $1 AND dead_at IS NULL RETURNING `+timelineSQL, p.id).Scan(&timeline)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("beat: %w", err)
	case p.ctx.Err() != nil:
	case err != nil:
		p.cfg.Logger.WarnContext(ctx, "taken for dead, work cancelled", "component", "process", "process", p.id)
		p.cancel(ErrProcessLost)
	case timeline != p.timeline:
		p.cfg.Logger.WarnContext(ctx, "home has failed over, beginning anew", "component", "process", "process", p.id,
			"from_timeline", p.timeline, "timeline", timeline)
		p.cancel(fmt.Errorf("%w: home has failed over to timeline %d", ErrProcessLost, timeline))
	}
	return nil
}

// watchOthers looks at the beats of all processes and marks those as dead that
// stood still for too long.
func (p *Process) watchOthers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	rows, err := p.cfg.Pool.Query(ctx, "SELECT id, beat FROM casq.processes WHERE id <> $1 AND dead_at IS NULL", p.id)
	if err != nil {
		return fmt.Errorf("read the other processes: %w", err)
	}
	beats, err := pgx.CollectRows(rows, pgx.RowToStructByPos[beatOf])
	if err != nil {
		return fmt.Errorf("read the other processes: %w", err)
	}
	for _, b := range p.tracker.observe(time.Now(), beats) {
		var host string
		var pid int32
		err := p.cfg.Pool.QueryRow(ctx, `UPDATE casq.processes SET dead_at = clock_timestamp()
			WHERE id = $1 AND beat = $2 AND dead_at IS NULL RETURNING host, pid`, b.ID, b.Beat).Scan(&host, &pid)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("nonce a process as dead: %w", err)
		}
		if err == nil {
			// Killed, frozen or cut off: nobody here can tell.
			p.cfg.Logger.WarnContext(ctx, "process showed no sign of life, its claims are handed on", "component", "process",
				"process", b.ID, "host", host, "pid", pid, "for", p.cfg.ClaimTTL)
		}
	}
	return nil
}
