package jobs

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

//go:embed counters.sql
var countersText string

// countersSQL has the statements of counters.sql.
var countersSQL = queries.Parse[struct{ Waiting, Orphans string }]("jobs/counters", countersText)

// Queues of the counters' jobs. Each can be paused by itself.
const (
	FlushQueue    = "casq_flush"
	RefreshQueue  = "casq_refresh"
	FinalizeQueue = "casq_finalize"
)

// FlushArgs asks for what is pending in Redis to be written to Postgres.
type FlushArgs struct{}

// Kind is River's name of the job.
func (FlushArgs) Kind() string { return FlushQueue }

// RefreshArgs asks for the scan of a recount.
type RefreshArgs struct {
	Scan int64 `json:"scan"`
}

// Kind is River's name of the job.
func (RefreshArgs) Kind() string { return RefreshQueue }

// FinalizeArgs asks for what a run of a scan has found to be swapped in. A token
// that is not the scan's any more makes the job a no-op.
type FinalizeArgs struct {
	Scan  int64     `json:"scan"`
	Token uuid.UUID `json:"token"`
}

// Kind is River's name of the job.
func (FinalizeArgs) Kind() string { return FinalizeQueue }

// counterAttempts is how often a scan or a swap is tried.
const counterAttempts = 8

// Counting queues the counters' work. It implements [counter.Jobs] and
// [recount.Jobs].
type Counting struct{ queue *Queue }

// NewCounting returns a queue that inserts through q.
func NewCounting(q *Queue) *Counting { return &Counting{q} }

// Flush implements [counter.Jobs]. One flush that waits is enough: it will see
// what is pending then.
func (c *Counting) Flush(ctx context.Context, tx pgx.Tx) (job int64, err error) {
	err = tx.QueryRow(ctx, countersSQL.Waiting, FlushQueue).Scan(&job)
	if err == nil || !errors.Is(err, pgx.ErrNoRows) {
		return job, err
	}
	return c.insert(ctx, tx, FlushArgs{}, FlushQueue)
}

// Scan implements [recount.Jobs].
func (c *Counting) Scan(ctx context.Context, tx pgx.Tx, scan int64) (job int64, err error) {
	return c.insert(ctx, tx, RefreshArgs{scan}, RefreshQueue)
}

// Finalize implements [recount.Jobs].
func (c *Counting) Finalize(ctx context.Context, tx pgx.Tx, f recount.Finalize) (job int64, err error) {
	return c.insert(ctx, tx, FinalizeArgs(f), FinalizeQueue)
}

func (c *Counting) insert(ctx context.Context, tx pgx.Tx, args river.JobArgs, queue string) (int64, error) {
	if err := c.queue.know(ctx, tx); err != nil {
		return 0, err
	}
	result, err := c.queue.client.InsertTx(ctx, tx, args, &river.InsertOpts{Queue: queue, MaxAttempts: counterAttempts})
	if err != nil {
		return 0, fmt.Errorf("insert job: %w", err)
	}
	return result.Job.ID, nil
}

// CounterWorker works on the counters' jobs.
type CounterWorker struct {
	Counters *counter.Counters
	Recounts *recount.Recounts
	Queue    *Queue
	Process  uuid.UUID // of this worker, in casq.processes
	Logger   *slog.Logger
}

// Register adds the worker's jobs to workers.
func (w *CounterWorker) Register(workers *river.Workers) {
	river.AddWorker(workers, &flusher{w: w})
	river.AddWorker(workers, &refresher{w: w})
	river.AddWorker(workers, &finalizer{w: w})
}

type flusher struct {
	river.WorkerDefaults[FlushArgs]
	w *CounterWorker
}

// Work implements [river.Worker].
func (f *flusher) Work(ctx context.Context, _ *river.Job[FlushArgs]) error {
	_, err := f.w.Counters.Flush(ctx)
	return forRiver(err)
}

// NextRetry implements [river.Worker]: who follows the log asks again anyway.
func (f *flusher) NextRetry(*river.Job[FlushArgs]) time.Time {
	return f.w.Queue.clock.Now().Add(time.Second)
}

type refresher struct {
	river.WorkerDefaults[RefreshArgs]
	w *CounterWorker
}

// Work implements [river.Worker].
func (r *refresher) Work(ctx context.Context, job *river.Job[RefreshArgs]) error {
	err := r.w.Recounts.Scan(ctx, job.Args.Scan, job.ID, r.w.Process)
	return r.w.ended(ctx, job.JobRow, job.Args.Scan, err)
}

// Timeout implements [river.Worker]. A large table takes its time.
func (r *refresher) Timeout(*river.Job[RefreshArgs]) time.Duration { return noTimeout }

// NextRetry implements [river.Worker].
func (r *refresher) NextRetry(job *river.Job[RefreshArgs]) time.Time {
	return r.w.Queue.soon(job.JobRow)
}

type finalizer struct {
	river.WorkerDefaults[FinalizeArgs]
	w *CounterWorker
}

// Work implements [river.Worker].
func (f *finalizer) Work(ctx context.Context, job *river.Job[FinalizeArgs]) error {
	err := f.w.Recounts.Finalize(ctx, recount.Finalize(job.Args), job.ID)
	return f.w.ended(ctx, job.JobRow, job.Args.Scan, err)
}

// Timeout implements [river.Worker].
func (f *finalizer) Timeout(*river.Job[FinalizeArgs]) time.Duration { return noTimeout }

// NextRetry implements [river.Worker].
func (f *finalizer) NextRetry(job *river.Job[FinalizeArgs]) time.Time {
	return f.w.Queue.soon(job.JobRow)
}

// soon is attempt^2 seconds from now: a recount has been asked for by somebody.
func (q *Queue) soon(job *rivertype.JobRow) time.Time {
	return q.clock.Now().Add(time.Duration(job.Attempt*job.Attempt) * time.Second)
}

// turnPause is how long a recount that has to wait its turn sleeps, unless it is
// woken.
const turnPause = time.Second

// nextTurn wakes recounts that wait for their turn, by a new job in the place of the
// one that sleeps: with that comes River's notice. It is best effort: who is not
// woken polls again after [turnPause].
func (w *CounterWorker) nextTurn(ctx context.Context) error {
	asleep, err := w.Recounts.Turn(ctx, RefreshQueue)
	if err != nil {
		return err
	}
	for _, one := range asleep {
		err := pgx.BeginTxFunc(ctx, w.Queue.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
			// River's own delete takes a job for deleted that another session has woken, or
			// begun on, while it waited for that one's lock.
			deleted, err := tx.Exec(ctx, "DELETE FROM river.river_job WHERE id = $1 AND state = 'available'", one.Job)
			if err != nil || deleted.RowsAffected() == 0 {
				return err
			}
			return w.Recounts.Wake(ctx, tx, one.Scan)
		})
		if err != nil {
			return fmt.Errorf("wake recount %d: %w", one.Scan, err)
		}
	}
	return nil
}

// ended says what becomes of the job. A recount whose last attempt has failed is
// failed with the reason.
func (w *CounterWorker) ended(ctx context.Context, job *rivertype.JobRow, scan int64, err error) error {
	switch {
	case err == nil:
		if err := w.nextTurn(ctx); err != nil {
			w.Logger.WarnContext(ctx, "cannot wake recounts that wait, they poll by themselves", "err", err)
		}
		return nil
	case errors.Is(err, recount.ErrSuperseded):
		return nil
	case errors.Is(err, recount.ErrBusy), errors.Is(err, recount.ErrNotReady):
		return river.JobSnooze(turnPause)
	case ctx.Err() != nil || job.Attempt < job.MaxAttempts:
		return forRiver(err)
	}
	w.Logger.WarnContext(ctx, "recount failed", "scan", scan, "err", err)
	return forRiver(errors.Join(err, w.Recounts.Fail(context.WithoutCancel(ctx), scan, err)))
}

// Adopt queues what dead processes had of the counters' jobs again, and recounts
// that have no job: later ones would wait for them for ever. Jobs that repeat are
// no-ops, so any number of workers may do this.
func (w *CounterWorker) Adopt(ctx context.Context) error {
	if err := w.adoptOrphans(ctx); err != nil {
		return err
	}
	return w.Recounts.Adopt(ctx, RefreshQueue, FinalizeQueue)
}

func (w *CounterWorker) adoptOrphans(ctx context.Context) error {
	rows, err := w.Queue.pool.Query(ctx, countersSQL.Orphans, []string{RefreshQueue, FinalizeQueue}, orphansPage)
	if err != nil {
		return fmt.Errorf("list the counters' jobs of dead processes: %w", err)
	}
	type orphan struct {
		ID   int64
		Kind string
		Args []byte
	}
	orphans, err := pgx.CollectRows(rows, pgx.RowToStructByPos[orphan])
	if err != nil {
		return fmt.Errorf("list the counters' jobs of dead processes: %w", err)
	}
	for _, o := range orphans {
		if err := w.again(ctx, o.Kind, o.Args); err != nil {
			return err
		}
		if err := w.Queue.Abandon(ctx, []int64{o.ID}); err != nil {
			return err
		}
	}
	return nil
}

// handOn queues again what this process has as a job that nobody works on. A scan
// that the job had taken is free again: nobody else takes one of a live process.
func (w *CounterWorker) handOn(ctx context.Context, job unclaimed) error {
	var args RefreshArgs // a swap's job names a scan, too, and has not taken it
	if err := json.Unmarshal(job.Args, &args); err != nil {
		return fmt.Errorf("read a job of kind %s: %w", job.Kind, err)
	}
	if err := w.Recounts.Release(ctx, args.Scan, job.ID, w.Process); err != nil {
		return err
	}
	return w.again(ctx, job.Kind, job.Args)
}

func (w *CounterWorker) again(ctx context.Context, kind string, args []byte) error {
	counting := NewCounting(w.Queue)
	return pgx.BeginTxFunc(ctx, w.Queue.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		var f FinalizeArgs // has all that RefreshArgs has
		if err := json.Unmarshal(args, &f); err != nil {
			return fmt.Errorf("read a job of kind %s: %w", kind, err)
		}
		var err error
		if kind == FinalizeQueue {
			_, err = counting.Finalize(ctx, tx, recount.Finalize(f))
		} else {
			_, err = counting.Scan(ctx, tx, f.Scan)
		}
		return err
	})
}

var (
	_ counter.Jobs = (*Counting)(nil)
	_ recount.Jobs = (*Counting)(nil)
)
