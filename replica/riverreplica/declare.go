package riverreplica

import (
	"cmp"
	"context"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// River calls a worker's own middleware before that of the client. So what a worker
// declares travels in the context, and [Middleware.Work] does it.

type declarationKey struct{}

func declare(ctx context.Context, declaration any) context.Context {
	return context.WithValue(ctx, declarationKey{}, declaration)
}

// Always has a worker read from the primary.
type Always struct{}

// IsMiddleware says that this is one.
func (Always) IsMiddleware() bool { return true }

// Work tells [Middleware.Work].
func (d Always) Work(ctx context.Context, _ *rivertype.JobRow, inner func(context.Context) error) error {
	return inner(declare(ctx, d))
}

// Sticky has a worker read from a standby that has everything, else from the
// primary: what a worker without a declaration does.
type Sticky struct{}

// IsMiddleware says that this is one.
func (Sticky) IsMiddleware() bool { return true }

// Work tells [Middleware.Work].
func (d Sticky) Work(ctx context.Context, _ *rivertype.JobRow, inner func(context.Context) error) error {
	return inner(declare(ctx, d))
}

// Delayed has a worker begin when a standby has everything, or late.
type Delayed struct {
	// Wait is how long a job waits for a standby; it holds its place among the client's
	// workers meanwhile. Defaults to 500 ms.
	Wait time.Duration
	// Snooze is for how long the job is put off, once, when it has waited in vain.
	// Defaults to 5 s.
	Snooze time.Duration
}

// IsMiddleware says that this is one.
func (Delayed) IsMiddleware() bool { return true }

// Work tells [Middleware.Work].
func (d Delayed) Work(ctx context.Context, _ *rivertype.JobRow, inner func(context.Context) error) error {
	d.Wait = cmp.Or(d.Wait, 500*time.Millisecond)
	d.Snooze = cmp.Or(d.Snooze, 5*time.Second)
	return inner(declare(ctx, d))
}

var (
	_ rivertype.WorkerMiddleware = Always{}
	_ rivertype.WorkerMiddleware = Sticky{}
	_ rivertype.WorkerMiddleware = Delayed{}
)
