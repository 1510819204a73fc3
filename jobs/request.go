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

var (
	// ErrAsked says that a request has a job already, or has none to be handed on.
	ErrAsked = errors.New("this was asked for already")

	errNotAsked = errors.New("nobody has asked for what it says")
)

// unknownAction is how long a request is left that this program does not know. A newer one
// may take it then, or an operator cancels it.
const unknownAction = time.Minute

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
	return q.insertRequest(ctx, tx, args, nil)
}

// insertRequest queues a request whose job has been before; nil: it has had none.
func (q *Queue) insertRequest(ctx context.Context, tx pgx.Tx, args RequestArgs, before *int64) (job int64, err error) {
	if err := q.know(ctx, tx); err != nil {
		return 0, err
	}
	inserted, err := q.client.InsertTx(ctx, tx, args, &river.InsertOpts{Queue: RequestQueue})
	if err != nil {
		return 0, fmt.Errorf("insert the job of a request: %w", err)
	}
	tag, err := tx.Exec(ctx, queueSQL.RequestHasJob, args.Request.ID, inserted.Job.ID, before)
	if err != nil {
		return 0, fmt.Errorf("name the job of the request: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return 0, ErrAsked
	}
	return inserted.Job.ID, nil
}

// handOnRequest queues the rest of a request, whose process is dead, as another job, and
// writes this one off.
func (q *Queue) handOnRequest(ctx context.Context, tx pgx.Tx, job int64, args RequestArgs, encoded []byte) error {
	err := isOfRequest(ctx, tx, job, args, encoded)
	if err == nil {
		_, err = q.insertRequest(ctx, tx, args, &job)
	}
	if err != nil && !errors.Is(err, errNotAsked) {
		return err
	}
	return abandon(ctx, tx, []int64{job})
}

// isOfRequest tells by its error whether a job is that of its request, as it was asked for.
// An operator's role may insert and change jobs, but not say in casq.audit that a request
// has one: what stands in a job alone was asked for by nobody who is known.
func isOfRequest(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, job int64, args RequestArgs, encoded []byte,
) error {
	var is bool
	if err := db.QueryRow(ctx, queueSQL.IsOfRequest, args.Request.ID, job, encoded).Scan(&is); err != nil {
		return fmt.Errorf("look request %s up: %w", args.Request.ID, err)
	}
	if !is {
		return fmt.Errorf("job %d, of request %s: %w", job, args.Request.ID, errNotAsked)
	}
	return nil
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
	err := isOfRequest(ctx, o.w.cfg.Queue.pool, job.ID, job.Args, job.EncodedArgs)
	if err == nil {
		ctx = audit.With(ctx, job.Args.Request)
		err = o.w.recovered(ctx, func() error { return o.carryOut(ctx, job.Args) })
	}
	if errors.Is(err, errNotAsked) {
		err = river.JobCancel(err)
	}
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
		o.w.cfg.Logger.WarnContext(ctx, "unknown action of a request, left to a newer program", "action", args.Action)
		err = river.JobSnooze(unknownAction)
	}
	return err
}

// Timeout implements [river.Worker].
func (o *operator) Timeout(*river.Job[RequestArgs]) time.Duration { return noTimeout }
