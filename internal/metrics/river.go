package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// River is a plugin of River clients: it counts inserts, fetches and work where they
// happen. A subscription would lose events under load.
type River struct {
	river.HookDefaults
	river.MiddlewareDefaults
	m *Metrics
}

// River returns a plugin.
func (m *Metrics) River() *River { return &River{m: m} }

// IsPlugin says that it is both a hook and middleware.
func (*River) IsPlugin() bool { return true }

// InsertMany implements [rivertype.JobInsertMiddleware].
func (r *River) InsertMany(ctx context.Context, jobs []*rivertype.JobInsertParams, doInner func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	results, err := doInner(ctx)
	if err != nil {
		return results, err
	}
	type part struct{ queue, job string }
	counts := make(map[part]int)
	for _, j := range jobs {
		counts[part{j.Queue, j.Kind}]++
	}
	for p, n := range counts {
		r.m.Add("casq_jobs_inserted_total", float64(n), p.queue, p.job)
	}
	return results, nil
}

// Work implements [rivertype.WorkerMiddleware].
func (r *River) Work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
	began := time.Now()
	outcome := "failed" // by a panic, too
	defer func() {
		r.m.Observe("casq_job_duration_seconds", time.Since(began), job.Kind)
		r.m.Add("casq_jobs_worked_total", 1, job.Queue, job.Kind, outcome)
	}()
	err := doInner(ctx)
	outcome = ended(err)
	return err
}

// ended is what a job's end means to the queue.
func ended(err error) string {
	if err == nil {
		return "completed"
	}
	if _, snoozed := errors.AsType[*rivertype.JobSnoozeError](err); snoozed {
		return "snoozed"
	}
	if _, cancelled := errors.AsType[*rivertype.JobCancelError](err); cancelled || errors.Is(err, river.ErrJobCancelledRemotely) {
		return "cancelled"
	}
	return "failed"
}

// MetricEmit implements [rivertype.HookMetricEmit].
func (r *River) MetricEmit(_ context.Context, params *rivertype.HookMetricEmitParams) {
	switch m := params.Metric.(type) {
	case *rivertype.JobGetAvailableDurationMetric:
		r.m.Add("casq_job_fetches_total", 1, m.Queue)
		r.m.Add("casq_job_fetch_seconds_total", m.Duration.Seconds(), m.Queue)
	case *rivertype.JobGetAvailableCountMetric:
		r.m.Add("casq_jobs_fetched_total", float64(m.Count), m.Queue)
	}
}

var (
	_ rivertype.JobInsertMiddleware = (*River)(nil)
	_ rivertype.WorkerMiddleware    = (*River)(nil)
	_ rivertype.HookMetricEmit      = (*River)(nil)
)
