package jobs

import (
	"context"
	"errors"
	"sync"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Present are the jobs that this process is working on: what River says of them
// in the database may be wrong in either direction. It is a middleware of the
// River client, so no kind of job can be forgotten.
//
// mu guards the rest.
type Present struct {
	river.MiddlewareDefaults

	mu      sync.Mutex
	jobs    map[int64]atWork
	entered map[string]int64 // how many have begun so far, by queue
}

// atWork is a job at work.
type atWork struct {
	queue  string
	cancel context.CancelCauseFunc
}

// NewPresent returns one without jobs.
func NewPresent() *Present {
	return &Present{jobs: make(map[int64]atWork), entered: make(map[string]int64)}
}

// Work implements [rivertype.WorkerMiddleware].
func (p *Present) Work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.jobs[job.ID] = atWork{job.Queue, cancel}
	p.entered[job.Queue]++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.jobs, job.ID)
		p.mu.Unlock()
	}()
	err := doInner(ctx)
	if err != nil && errors.Is(context.Cause(ctx), river.ErrJobCancelledRemotely) {
		return river.ErrJobCancelledRemotely // as River does where it has heard of it
	}
	return err
}

// Has tells whether the job is being worked on.
func (p *Present) Has(job int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, present := p.jobs[job]
	return present
}

// cancel ends a job, as River does when it hears that somebody has cancelled it.
func (p *Present) cancel(job int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, present := p.jobs[job]; present {
		at.cancel(river.ErrJobCancelledRemotely)
	}
}

// Idle returns the queues of those given that have no job at work, each with how
// many have begun so far.
func (p *Present) Idle(queues []string) map[string]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := make(map[string]int64, len(queues))
	for _, q := range queues {
		idle[q] = p.entered[q]
	}
	for _, busy := range p.jobs {
		delete(idle, busy.queue)
	}
	return idle
}

var _ rivertype.WorkerMiddleware = (*Present)(nil)
