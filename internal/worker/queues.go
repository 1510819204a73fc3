package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"casq/eventlog"
	"casq/internal/pause"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// neglectedAfter is how long a job may wait that nothing stands in the way of.
const neglectedAfter = 10 * time.Second

// riverQueues is what River offers of the queues that a client serves.
type riverQueues interface {
	Add(queue string, config river.QueueConfig) error
	Remove(ctx context.Context, queue string) error
}

// queues are those that a session serves.
type queues struct {
	*worker
	river   riverQueues
	present *jobs.Present
	served  map[string]int // how many runs at once, by queue
	// idle are the queues that had nothing to do at the last round, with how many
	// of their jobs had begun until then.
	idle map[string]int64
}

// known are the kinds that home had when the queues were looked at last. A kind of events
// that is not among them was made since: its queue is not left to wait for the next look.
type known struct {
	kinds atomic.Pointer[map[string]eventlog.Kind] // nil: no queue was looked at yet
	more  chan struct{}                            // asks for a look
}

func newKnown() known { return known{more: make(chan struct{}, 1)} }

// see takes the events of a batch that is committed.
func (k *known) see(batch eventlog.Batch) {
	var kinds map[string]eventlog.Kind // none as long as the first look is under way
	if seen := k.kinds.Load(); seen != nil {
		kinds = *seen
	}
	for i := range batch.Events {
		kind := batch.Events[i].Kind
		_, old := kinds[kind]
		if _, defined := batch.Kinds[kind]; !old && defined {
			select {
			case k.more <- struct{}{}:
			default: // it is asked for
			}
			return
		}
	}
}

// keep looks at the queues each second, and as soon as a kind is new, until ctx is done.
func (q *queues) keep(ctx context.Context) {
	pause.EveryOr(ctx, q.cfg.TestQueuesEvery, q.known.more, func() { tell(ctx, "serve the queues", q.round(ctx), q.log) })
}

// round serves queues as their kinds become known, leaves those whose kinds were
// dropped, and serves those anew that River has left alone.
func (q *queues) round(ctx context.Context) error {
	kinds, err := eventlog.Kinds(ctx, q.home)
	if err != nil {
		return err
	}
	q.known.kinds.Store(&kinds)
	wanted := q.capacity(kinds)
	maps.Copy(wanted, q.counterQueues())
	maps.Copy(wanted, q.fixedQueues())
	var errs []error
	for queue := range q.served {
		if wanted[queue] == 0 {
			errs = append(errs, q.drop(ctx, queue))
		}
	}
	for queue, workers := range wanted {
		if q.served[queue] != workers {
			errs = append(errs, q.serve(ctx, queue, workers))
		}
	}
	q.worker.served.Store(new(slices.Sorted(maps.Keys(q.served))))
	return errors.Join(append(errs, q.serveNeglected(ctx))...)
}

// serve serves a queue with so many runs at once.
//
// River keeps a queue that it could not start among those that it has, and says
// for ever that it has it: it is removed again, so that the next round can add it.
func (q *queues) serve(ctx context.Context, queue string, workers int) error {
	if err := q.drop(ctx, queue); err != nil {
		return err
	}
	if err := q.river.Add(queue, river.QueueConfig{MaxWorkers: workers}); err != nil {
		return errors.Join(fmt.Errorf("serve queue %s: %w", queue, err), q.remove(ctx, queue))
	}
	q.served[queue] = workers
	q.log.InfoContext(ctx, "serving queue", "queue", queue, "workers", workers)
	return nil
}

// drop ends serving a queue, which got another kind with a smaller number, or has
// none any more. What runs there ends first: until then no more is fetched, and this is called each
// second, in turns with the other queues.
func (q *queues) drop(ctx context.Context, queue string) error {
	if q.served[queue] == 0 {
		return nil
	}
	if err := q.remove(ctx, queue); err != nil {
		return fmt.Errorf("wait for the runs of queue %s, to serve it with fewer or not at all: %w", queue, err)
	}
	delete(q.served, queue)
	return nil
}

func (q *queues) remove(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	err := q.river.Remove(ctx, queue)
	if errors.Is(err, &river.QueueNotFoundError{}) {
		return nil
	}
	return err
}

// serveNeglected serves those queues anew that should have work, and have none
// from one round to the next, or brings back what keeps them waiting: River takes an error that ends in "conn closed" for
// its own stop and says that it serves the queue. What such a queue is to be
// served with is found by the next round.
func (q *queues) serveNeglected(ctx context.Context) error {
	before := q.idle
	q.idle = q.present.Idle(slices.Collect(maps.Keys(q.served)))
	var still []string
	for queue, begun := range q.idle {
		if n, idle := before[queue]; idle && n == begun {
			still = append(still, queue)
		}
	}
	if len(still) == 0 {
		return nil
	}
	rows, err := q.home.Query(ctx, workerSQL.Neglected, still, neglectedAfter)
	if err != nil {
		return fmt.Errorf("find queues that nobody serves: %w", err)
	}
	var neglected, ahead []string
	var name string
	var inFuture bool
	_, err = pgx.ForEachRow(rows, []any{&name, &inFuture}, func() error {
		if inFuture {
			ahead = append(ahead, name)
		} else {
			neglected = append(neglected, name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("find queues that nobody serves: %w", err)
	}
	var errs []error
	for _, queue := range neglected {
		q.log.WarnContext(ctx, "queue has work and is not served, serving it anew", "queue", queue)
		errs = append(errs, q.serve(ctx, queue, q.served[queue]))
	}
	if len(ahead) > 0 {
		q.log.WarnContext(ctx, "jobs lie in the future of the database's clock, which has gone back; they are brought back", "queues", ahead)
		errs = append(errs, q.queue.BringBack(ctx))
	}
	return errors.Join(errs...)
}

// capacity is how many runs at once each queue has that this worker serves. A
// queue cannot tell its kinds apart, so all of them have the smallest number
// that is set for one.
func (w *worker) capacity(kinds map[string]eventlog.Kind) map[string]int {
	queues := make(map[string]int)
	for _, kind := range kinds {
		if !w.movers.handles(kind) {
			continue
		}
		n := cmp.Or(w.cfg.KindConcurrency[kind.Name], w.cfg.Concurrency)
		if had, known := queues[kind.Queue]; known {
			n = min(n, had)
		}
		queues[kind.Queue] = n
	}
	return queues
}
