package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/audit"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// RequestQueue has what operators have asked for of many resources at once. One at a
// time, per worker: each is as fast as the database lets it.
const RequestQueue = "casq_requests"

// RequestAction is what a [RequestArgs] asks for.
type RequestAction string

// The actions.
const (
	Resync RequestAction = "resync"
	Verify RequestAction = "verify"
)

// RequestArgs asks for all resources of a kind to be copied or verified again, page by
// page, on behalf of an operator. How far it is stands in its row of casq.audit, to which
// each page's transaction adds.
type RequestArgs struct {
	Request audit.Request `json:"request"`
	Action  RequestAction `json:"action"`
	OfKind  string        `json:"of_kind"`
	// FailedOnly and Reason are for a resync: see [registry.ResyncOptions].
	FailedOnly bool    `json:"failed_only,omitempty"`
	Reason     *string `json:"reason,omitempty"`
	// Before is a version that is above all those that there were when it was asked for.
	Before int64 `json:"before,omitempty"`
}

// Kind is River's name of the job.
func (RequestArgs) Kind() string { return "casq_request" }

// InsertRequest queues a request in tx, whose context has the same request. So its row of
// casq.audit is there, and names the job.
func (q *Queue) InsertRequest(ctx context.Context, tx pgx.Tx, args RequestArgs) (job int64, err error) {
	if err := tx.QueryRow(ctx, "SELECT nextval('casq.registry_version')").Scan(&args.Before); err != nil {
		return 0, fmt.Errorf("take a version: %w", err)
	}
	return q.insertRequest(ctx, tx, args)
}

func (q *Queue) insertRequest(ctx context.Context, tx pgx.Tx, args RequestArgs) (job int64, err error) {
	if err := q.know(ctx, tx); err != nil {
		return 0, err
	}
	inserted, err := q.client.InsertTx(ctx, tx, args, &river.InsertOpts{Queue: RequestQueue})
	if err != nil {
		return 0, fmt.Errorf("insert the job of a request: %w", err)
	}
	if _, err := tx.Exec(ctx, "UPDATE casq.audit SET job = $2 WHERE id = $1", args.Request.ID, inserted.Job.ID); err != nil {
		return 0, fmt.Errorf("name the job of the request: %w", err)
	}
	return inserted.Job.ID, nil
}

// handOnRequest queues the rest of a request, whose process is dead, as another job, and
// writes this one off.
func (q *Queue) handOnRequest(ctx context.Context, tx pgx.Tx, job int64, args RequestArgs) error {
	if _, err := q.insertRequest(ctx, tx, args); err != nil {
		return err
	}
	return abandon(ctx, tx, []int64{job})
}

// CancelJob ends a job that waits, and tells one that runs to end. It is no error when
// there is none.
func (q *Queue) CancelJob(ctx context.Context, tx pgx.Tx, job int64) error {
	if _, err := q.client.JobCancelTx(ctx, tx, job); err != nil && !errors.Is(err, rivertype.ErrNotFound) {
		return fmt.Errorf("cancel job %d: %w", job, err)
	}
	return nil
}

// operator is what River sees of a [Worker], for requests of operators.
type operator struct {
	river.WorkerDefaults[RequestArgs]
	w *Worker
}

// Work implements [river.Worker]. Done again after a crash it asks for the rest: what it
// has raised has a version that is not before its own; what is verified twice is read
// twice.
func (o *operator) Work(ctx context.Context, job *river.Job[RequestArgs]) error {
	ctx = audit.With(ctx, job.Args.Request)
	err := o.w.recovered(ctx, func() error { return o.carryOut(ctx, job.Args) })
	if ctx.Err() != nil && o.w.stopping() {
		return river.JobSnooze(0)
	}
	return forRiver(err)
}

func (o *operator) carryOut(ctx context.Context, args RequestArgs) (err error) {
	queue := o.w.cfg.Queue
	switch args.Action {
	case Resync:
		_, err = registry.ResyncKind(ctx, queue.pool, queue, args.OfKind, registry.ResyncOptions{
			FailedOnly: args.FailedOnly, Reason: args.Reason, Before: args.Before,
		})
	case Verify:
		_, err = registry.VerifyKind(ctx, queue.pool, queue, args.OfKind, registry.VerifyOptions{})
	default:
		err = river.JobCancel(fmt.Errorf("unknown action %q: a newer program may know it", args.Action))
	}
	return err
}

// Timeout implements [river.Worker].
func (o *operator) Timeout(*river.Job[RequestArgs]) time.Duration { return noTimeout }
