package reconcile

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/eventlog"
	"casq/internal/pause"
	"casq/internal/portion"
	"casq/internal/queries"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed reconcile.sql
var runText string

// runSQL has the statements of reconcile.sql.
var runSQL = queries.Parse[struct {
	Due, Schedule, Part, Take, Move, GiveBack, Finish, Totals, SelectionRows, Claims string
}]("registry/reconcile", runText)

// Config configures a [Reconciler].
type Config struct {
	Home    *pgxpool.Pool
	Source  eventlog.DB // where the log is read; may be a standby
	Jobs    registry.Jobs
	Process uuid.UUID // of [Process.ID]: whose runs another takes over once it is dead
	Logger  *slog.Logger

	// Checks queues verifications of what was not compared for VerifyEvery. Where it is
	// nil, or VerifyEvery is 0, nothing is verified.
	Checks      registry.Checks
	VerifyEvery time.Duration
	// Staging is that of this process's targets, to remove folders of no claim.
	Staging []Staging
	// InPlace tells whether something is at the place of a resource. May be nil.
	InPlace func(ctx context.Context, kind eventlog.Kind, key string) bool

	// Targets are those that this process has, by transfer. Others are not walked
	// through.
	Targets map[string]Target

	// Every is the time between two full runs. 0: only when asked for.
	Every time.Duration
	// WalkEvery is the time between two of these that walk through the targets.
	// 0: only when asked for.
	WalkEvery time.Duration
	// PollEvery is the time between two polls for a run. Defaults to 2 s.
	PollEvery time.Duration
	// PageSize is the number of resources of one transaction. Defaults to 5000.
	PageSize int
	// PageBytes is how many bytes of keys and payloads end a page. Defaults to
	// [eventlog.DefaultPageBytes].
	PageBytes int64
	// Margin is how much longer than the oldest waiting job a row must have
	// waited to be given another job. Defaults to 1 minute.
	Margin time.Duration
	// Patience is how long a page waits for the log to come to where it was
	// read, before the run is put off for as long. Defaults to 10 s.
	Patience time.Duration
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Reconciler compares the registry with the source, in both directions, as
// requests ask for it; see [Ask]. Any number of them may run.
type Reconciler struct {
	cfg Config
	log *slog.Logger
	// How much one page has; less, while pages time out.
	portion *portion.Portion
}

// New returns one that does nothing until [Reconciler.Run].
func New(cfg Config) *Reconciler {
	cfg.PollEvery = cmp.Or(cfg.PollEvery, 2*time.Second)
	cfg.PageSize = cmp.Or(cfg.PageSize, 5000)
	cfg.PageBytes = cmp.Or(cfg.PageBytes, pageBytes)
	cfg.Margin = cmp.Or(cfg.Margin, time.Minute)
	cfg.Patience = cmp.Or(cfg.Patience, 10*time.Second)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	return &Reconciler{
		cfg: cfg, log: cfg.Logger.With("component", "reconcile"),
		portion: portion.New(portion.Size{Rows: cfg.PageSize, Bytes: cfg.PageBytes}),
	}
}

// Run carries out what is asked for until ctx is done. Errors are logged, and
// the run they came from is tried again.
func (r *Reconciler) Run(ctx context.Context) {
	pause.Every(ctx, r.cfg.PollEvery, func() {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "cannot schedule or take a reconcile, trying again", "err", err)
		}
	})
}

// round asks for a run that is due, and carries out all runs that there are.
func (r *Reconciler) round(ctx context.Context) error {
	if err := r.schedule(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		run, err := r.take(ctx)
		if err != nil || run == nil {
			return err
		}
		r.end(ctx, run, run.carryOut(ctx))
	}
	return nil
}

// end gives a run back that is not finished. The process that takes it goes on after
// the last page that was committed.
func (r *Reconciler) end(ctx context.Context, run *takenRun, err error) {
	log := r.log.With("run", run.id, "reason", run.reason)
	var putOff time.Duration
	switch {
	case err == nil, errors.Is(err, errTakenOver):
		return
	case ctx.Err() != nil:
		err = errors.New("the process that carried it out was stopped")
	case errors.Is(err, registry.ErrSelectionChanged):
		log.InfoContext(ctx, "reconcile begins a page again", "err", err)
	case errors.Is(err, ErrLateSource), errors.Is(err, errCursorBehind), errors.Is(err, eventlog.ErrNoTicks):
		putOff = r.cfg.Patience
		log.InfoContext(ctx, "reconcile waits", "err", err)
	default:
		putOff = r.cfg.Patience
		log.WarnContext(ctx, "reconcile interrupted, trying again", "err", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, giveErr := r.cfg.Home.Exec(ctx, runSQL.GiveBack, run.id, r.cfg.Process, explain(err), putOff, isOfKind(err)); giveErr != nil {
		// The run stays this process's, which takes it again, or dies.
		log.WarnContext(ctx, "cannot give reconcile back", "err", giveErr)
	}
}

// schedule asks for a full run when the newest one is old enough. Of many
// processes that find it due one asks: the lock comes first, and the statement after
// it reads again.
func (r *Reconciler) schedule(ctx context.Context) error {
	if r.cfg.Every == 0 {
		return nil
	}
	var due bool
	if err := r.cfg.Home.QueryRow(ctx, runSQL.Due, r.cfg.Every).Scan(&due); err != nil {
		return fmt.Errorf("check whether a reconcile is due: %w", err)
	}
	if !due {
		return nil
	}
	err := pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('casq.reconcile', 0))"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, runSQL.Schedule, r.cfg.Every, r.cfg.WalkEvery)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for the scheduled reconcile: %w", err)
	}
	return nil
}
