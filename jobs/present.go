package jobs

import (
	"context"
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
	jobs    map[int64]string // queue, by job
	entered map[string]int64 // how many have begun so far, by queue
}

// NewPresent returns one without jobs.
func NewPresent() *Present {
	return &Present{jobs: make(map[int64]string), entered: make(map[string]int64)}
}

// Work implements [rivertype.WorkerMiddleware].
func (p *Present) Work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
	p.mu.Lock()
	p.jobs[job.ID] = job.Queue
	p.entered[job.Queue]++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.jobs, job.ID)
		p.mu.Unlock()
	}()
	return doInner(ctx)
}

// Has tells whether the job is being worked on.
func (p *Present) Has(job int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, present := p.jobs[job]
	return present
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
		delete(idle, busy)
	}
	return idle
}

var _ rivertype.WorkerMiddleware = (*Present)(nil)
