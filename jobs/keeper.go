package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// LostAfter is how long a job may be running in this process's name without being
// at work here, before it is handed on. What was fetched comes to work at once;
// what has ended is said to have within a second, and for half a minute more when
// the database does not take it: River tries that three times, and then forgets it.
const LostAfter = time.Minute

// Keeper hands on the jobs that run in the name of this process and that nobody
// works on: those whose fetch had no answer, and those whose end was not written,
// or was lost by a crash of a server that had not flushed it. River would take them
// up when their time is over, which for a copy is after 30 days.
//
// A run that ended in such a way may have a claim, too, that nobody here knows of.
//
// It also ends those at work that somebody has cancelled: the notice is lost while
// nobody listens, as after a failover, and River itself asks only each minute.
type Keeper struct {
	Queue    *Queue
	Present  *Present
	Process  *registry.Process
	Counters *CounterWorker
	Logger   *slog.Logger
	After    time.Duration // [LostAfter], unless a test is in a hurry

	since map[int64]time.Time // not at work here, by job
}

// unclaimed is a job that nobody works on.
type unclaimed struct {
	ID        int64
	Kind      string
	Args      json.RawMessage
	Cancelled bool // by an operator; or written off, where nobody works on it
}

// Round compares once. It is not safe for concurrent use. A job that cannot be
// handed on is tried again by the next round, and keeps no other from it.
func (k *Keeper) Round(ctx context.Context) error {
	rows, err := k.Queue.pool.Query(ctx, queueSQL.Mine, k.Process.ID().String())
	if err != nil {
		return fmt.Errorf("list the jobs of this process: %w", err)
	}
	mine, err := pgx.CollectRows(rows, pgx.RowToStructByPos[unclaimed])
	if err != nil {
		return fmt.Errorf("list the jobs of this process: %w", err)
	}
	mine = k.endCancelled(mine)
	since := make(map[int64]time.Time)
	var errs []error
	for _, job := range mine {
		if k.Present.Has(job.ID) {
			continue
		}
		first, seen := k.since[job.ID]
		if !seen {
			first = time.Now()
		}
		since[job.ID] = first
		if time.Since(first) < k.After {
			continue
		}
		k.Logger.WarnContext(ctx, "a job runs in this process's name that it does not work on, handed on", "job", job.ID, "job_kind", job.Kind)
		if err := k.handOn(ctx, job); err != nil {
			errs = append(errs, fmt.Errorf("hand on job %d, which nobody works on: %w", job.ID, err))
		}
	}
	k.since = since
	return errors.Join(errs...)
}

// endCancelled ends those of the jobs that are cancelled, and returns the others.
func (k *Keeper) endCancelled(mine []unclaimed) []unclaimed {
	return slices.DeleteFunc(mine, func(job unclaimed) bool {
		if job.Cancelled {
			k.Present.cancel(job.ID)
		}
		return job.Cancelled
	})
}

// handOn queues a job again, as another one, and then writes it off: its own end
// may still be written, and must not be that of a later attempt.
func (k *Keeper) handOn(ctx context.Context, job unclaimed) error {
	var err error
	switch job.Kind {
	case SyncArgs{}.Kind(), RemoveArgs{}.Kind():
		var args SyncArgs // and RemoveArgs
		if err = json.Unmarshal(job.Args, &args); err == nil {
			err = k.Process.HandOn(ctx, args.token(), job.ID)
		}
	case VerifyArgs{}.Kind(), RequestArgs{}.Kind():
		err = pgx.BeginFunc(ctx, k.Queue.pool, func(tx pgx.Tx) error { return k.Queue.handOnRowless(ctx, tx, job.ID, job.Kind, job.Args) })
	case RefreshQueue, FinalizeQueue:
		err = k.Counters.handOn(ctx, job)
	}
	if err != nil {
		return err
	}
	return k.Queue.Abandon(ctx, []int64{job.ID})
}
