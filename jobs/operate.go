package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"casq/internal/database"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
)

// ErrUnknownQueue says that no worker has worked on a queue of that name.
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
func (q *Queue) Pause(ctx context.Context, name string) error {
	return q.known(ctx, name, "pause", q.client.QueuePause(ctx, name, nil))
}

// Resume lets workers go on with a queue, or with [AllQueues].
func (q *Queue) Resume(ctx context.Context, name string) error {
	return q.known(ctx, name, "resume", q.client.QueueResume(ctx, name, nil))
}

// known adds the names that would have been right.
func (q *Queue) known(ctx context.Context, name, what string, err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, rivertype.ErrNotFound) {
		return fmt.Errorf("%s queue %q: %w", what, name, err)
	}
	states, err := q.Queues(ctx)
	if err != nil {
		return err
	}
	list := "none yet; a worker that runs makes its queues known"
	if len(states) > 0 {
		names := make([]string, len(states))
		for i, s := range states {
			names[i] = s.Name
		}
		list = strings.Join(names, ", ")
	}
	return fmt.Errorf("%w %q; known: %s", ErrUnknownQueue, name, list)
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
