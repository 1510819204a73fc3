package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"casq/internal/database"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ErrUnknownQueue says that nobody works on a queue of that name, or ever will.
var ErrUnknownQueue = errors.New("unknown queue")

// AllQueues stands for every queue that is known.
const AllQueues = "*"

// MostJobs is how far the jobs of a queue are counted.
const MostJobs = 100_000

// QueueState is a queue, and how many jobs it has, each number at most
// [MostJobs].
type QueueState struct {
	Name     string     `json:"name"`
	PausedAt *time.Time `json:"paused_at"`
	SeenAt   time.Time  `json:"seen_at"` // when a worker last worked on it
	Waiting  int64      `json:"waiting"`
	Running  int64      `json:"running"` // in processes that are alive
	// Lost are those that River believes to be running in processes that are dead.
	Lost     int64 `json:"lost"`
	Retrying int64 `json:"retrying"`
}

// Queues lists the queues that workers have made known.
func (q *Queue) Queues(ctx context.Context) ([]QueueState, error) {
	var states []QueueState
	var batch pgx.Batch // is one transaction, and one round trip
	batch.Queue(database.ByIndex)
	batch.Queue(queueSQL.Queues, MostJobs).Query(func(rows pgx.Rows) (err error) {
		states, err = pgx.CollectRows(rows, pgx.RowToStructByPos[QueueState])
		return err
	})
	if err := q.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	return states, nil
}

// Pause keeps workers from taking jobs of a queue, or of [AllQueues]; what runs
// goes on. They hear of it at once, or within a minute.
//
// River makes the row of a queue that can be paused when a worker begins to serve it. One that
// is known has it made here before: the worker finds it, and begins with the pause.
func (q *Queue) Pause(ctx context.Context, name string) error {
	return q.change(ctx, name, "pause", func(tx pgx.Tx, known []string) error {
		if _, err := tx.Exec(ctx, queueSQL.MakeQueues, known); err != nil {
			return err
		}
		return q.client.QueuePauseTx(ctx, tx, name, nil)
	})
}

// Resume lets workers go on with a queue, or with [AllQueues].
func (q *Queue) Resume(ctx context.Context, name string) error {
	return q.change(ctx, name, "resume", func(tx pgx.Tx, _ []string) error {
		err := q.client.QueueResumeTx(ctx, tx, name, nil)
		if errors.Is(err, rivertype.ErrNotFound) {
			return nil // it was never paused
		}
		return err
	})
}

// change does something to a queue, or to [AllQueues], in a transaction, unless nobody knows it.
func (q *Queue) change(ctx context.Context, name, what string, do func(tx pgx.Tx, known []string) error) error {
	known, err := q.Known(ctx)
	if err != nil {
		return err
	}
	if name != AllQueues {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w %q; known: %s", ErrUnknownQueue, name, strings.Join(known, ", "))
		}
		known = []string{name}
	}
	if err := pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error { return do(tx, known) }); err != nil {
		return fmt.Errorf("%s queue %q: %w", what, name, err)
	}
	return nil
}

// Known lists the queues that workers serve, or will: those of the kinds, and casq's own.
func (q *Queue) Known(ctx context.Context) ([]string, error) {
	own := []string{river.QueueDefault, RequestQueue, FlushQueue, RefreshQueue, FinalizeQueue}
	rows, err := q.pool.Query(ctx, queueSQL.KnownQueues, own, VerifyQueue(""))
	if err != nil {
		return nil, fmt.Errorf("list the queues that are known: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the queues that are known: %w", err)
	}
	return names, nil
}

// Cancel ends the jobs of a version in tx, and the run that has the resource as
// job running, whatever its version is; 0: none has. Jobs that wait are ended by
// tx, runs when their process hears of it: River's notice may be lost, and the
// registry's row is read within two seconds.
func (q *Queue) Cancel(ctx context.Context, tx pgx.Tx, token registry.Token, running int64) (ended int, err error) {
	rows, err := tx.Query(ctx, queueSQL.Resource, token.Kind, token.ResourceID, token.Version, running)
	if err != nil {
		return 0, fmt.Errorf("list its jobs: %w", err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("list its jobs: %w", err)
	}
	for _, id := range jobs {
		if err := q.CancelJob(ctx, tx, id); err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}
