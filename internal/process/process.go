// Package process keeps a process known to the others that work on the same
// database, and tells which of the others are dead.
//
// A process is a row of casq.processes. It raises the row's beat, which the others
// read: one whose beat has not changed for a while, by the clock of the one that
// reads and over a connection that works, is marked as dead. Its row stays until
// somebody has handed on what it had: how that is done is said by [Config]. A process that
// was taken for dead is over for good, also when it was only frozen: its work is
// cancelled at its next beat, and it goes on under another id.
//
// Its [Detector] is also that of the cursors, whose rows are not processes.
//
//	       Start              watch of another            HandOn
//	none --------> alive ------------------------> dead ----------------------------> none
//	                 |                              ^
//	                 +---------- SignOff -----------+
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"casq/internal/pause"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrLost is the cause of Done's end for a process that was taken for dead, or
// whose database has failed over.
var ErrLost = errors.New("this process was taken for dead")

// statementTimeout bounds a beat and a watch: a connection that hangs must not
// make this process look dead, nor keep it from seeing that it is.
const statementTimeout = 15 * time.Second

// timelineSQL is the timeline of the server (of its WAL, and not of the log), on the
// primary that answers.
const timelineSQL = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer"

// Config configures a [Process].
type Config struct {
	Pool   *pgxpool.Pool
	Logger *slog.Logger
	// TTL is how long another process's beat may stand still before that process is
	// marked as dead. The beat is a third of it.
	TTL time.Duration
	// HandOn hands on what dead processes had, and removes their rows. It is called
	// each time that the others were watched, also when none of them is dead.
	HandOn func(context.Context) error
}

// Process is this process as the others see it. Its methods may be called by
// several goroutines, but for Watch.
type Process struct {
	cfg      Config
	detector *Detector[uuid.UUID, int64]
	id       uuid.UUID
	ctx      context.Context //nolint:containedctx // its end is what the process tells
	cancel   context.CancelCauseFunc
	// timeline is the server's at the start.
	timeline int32
}

// New returns a process that nobody sees until [Process.Start].
func New(cfg Config) *Process {
	p := &Process{cfg: cfg, detector: NewDetector[uuid.UUID, int64](cfg.TTL), id: uuid.New()}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// ID returns the id of the process, which is never used again, by this process or another.
func (p *Process) ID() uuid.UUID { return p.id }

// Done is a context that ends when this process was taken for dead, or was ended.
func (p *Process) Done() context.Context { return p.ctx }

// End ends [Process.Done]. The row stays: see [Process.SignOff].
func (p *Process) End(cause error) { p.cancel(cause) }

// Start makes the process known.
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

// Run beats and watches until ctx is done or the process is lost. Beating waits for
// nothing else: handing on what a dead process had can take longer than this one may
// stand still.
func (p *Process) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { p.Every(ctx, p.cfg.TTL/3, "beat", p.Beat) })
	group.Go(func() { p.Every(ctx, p.cfg.TTL/3, "watch", p.Watch) })
	group.Wait()
}

// Watch marks other processes that died, and has handed on what they had.
func (p *Process) Watch(ctx context.Context) error {
	if err := p.markDead(ctx); err != nil {
		return err
	}
	return p.cfg.HandOn(ctx)
}

// Every calls a round at each interval until ctx or the process is done. A round
// that fails is logged and tried again: a database that is away is no reason to
// cancel work.
func (p *Process) Every(ctx context.Context, interval time.Duration, what string, round func(context.Context) error) {
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	pause.Every(until, interval, func() {
		if err := round(ctx); err != nil && ctx.Err() == nil {
			p.cfg.Logger.WarnContext(ctx, "a round of this process failed, trying again", "component", "process", "round", what, "err", err)
		}
	})
}

// Beat moves the beat on. Without a row that counts, all work is cancelled: others
// have what this process had, or soon will.
//
// So it is when the database is on another timeline than at the start: another
// server was promoted, which may lack the end of what this process has done. A run
// that has given its claim back has it there again, and a job that was completed
// runs again, in the name of a process that lives and knows of neither.
func (p *Process) Beat(ctx context.Context) error {
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
		p.cfg.Logger.WarnContext(ctx, "this process was taken for dead, its work is cancelled", "component", "process", "process", p.id)
		p.cancel(ErrLost)
	case timeline != p.timeline:
		p.cfg.Logger.WarnContext(ctx, "home has failed over, this process begins anew", "component", "process", "process", p.id,
			"from_timeline", p.timeline, "timeline", timeline)
		p.cancel(fmt.Errorf("%w: home has failed over to timeline %d", ErrLost, timeline))
	}
	return nil
}

// markDead reads the beats of all other processes and marks those as dead that stood
// still for too long.
func (p *Process) markDead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	began := time.Now()
	rows, err := p.cfg.Pool.Query(ctx, "SELECT id, beat FROM casq.processes WHERE id <> $1 AND dead_at IS NULL", p.id)
	if err != nil {
		return fmt.Errorf("read the other processes: %w", err)
	}
	beats := make(map[uuid.UUID]int64)
	var id uuid.UUID
	var beat int64
	_, err = pgx.ForEachRow(rows, []any{&id, &beat}, func() error { beats[id] = beat; return nil })
	if err != nil {
		return fmt.Errorf("read the other processes: %w", err)
	}
	for id, left := range p.detector.Observe(began, time.Now(), beats) {
		if left > 0 {
			continue
		}
		if err := p.mark(ctx, id, beats[id]); err != nil {
			return fmt.Errorf("mark a process as dead: %w", err)
		}
	}
	return nil
}

// mark marks a process as dead, unless it has shown a sign of life meanwhile.
func (p *Process) mark(ctx context.Context, id uuid.UUID, beat int64) error {
	var host string
	var pid int32
	err := p.cfg.Pool.QueryRow(ctx, `UPDATE casq.processes SET dead_at = clock_timestamp()
		WHERE id = $1 AND beat = $2 AND dead_at IS NULL RETURNING host, pid`, id, beat).Scan(&host, &pid)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	// Killed, frozen or cut off: that cannot be told from here.
	p.cfg.Logger.WarnContext(ctx, "process showed no sign of life, its claims are handed on", "component", "process",
		"process", id, "host", host, "pid", pid, "for", p.cfg.TTL)
	return nil
}

// SignOff ends the process and marks its row as dead, at once. It returns false
// where somebody has deleted the row: nobody else finds what this process had then.
func (p *Process) SignOff(ctx context.Context) (known bool, err error) {
	p.cancel(context.Canceled)
	tag, err := p.cfg.Pool.Exec(ctx, "UPDATE casq.processes SET dead_at = clock_timestamp() WHERE id = $1", p.id)
	if err != nil {
		return false, fmt.Errorf("mark this process as stopped: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}
