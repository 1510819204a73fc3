package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// mover is a transfer whose steps are functions; nil: the step succeeds.
type mover struct {
	begin, copy, publish, remove, verify func(context.Context) error

	closed int
	sum    string // of what is copied; "": some
}

func (m *mover) Begin(ctx context.Context, _ transfer.Place) (transfer.Run, error) {
	return m, step(ctx, m.begin)
}
func (m *mover) Sweep(context.Context, transfer.Place) error { return nil }
func (m *mover) Verify(ctx context.Context, _ transfer.Place, _ json.RawMessage, _ string) error {
	return step(ctx, m.verify)
}

func (m *mover) Copy(ctx context.Context, _ json.RawMessage) (transfer.Result, error) {
	return transfer.Result{Checksum: cmp.Or(m.sum, "sum"), Size: 3, Held: 1}, step(ctx, m.copy)
}
func (m *mover) Publish(ctx context.Context) error { return step(ctx, m.publish) }
func (m *mover) Remove(ctx context.Context) error  { return step(ctx, m.remove) }
func (m *mover) Close() error                      { m.closed++; return nil }

func step(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

// workBundle is a worker, and one resource of which it has a job.
type workBundle struct {
	*testBundle
	worker   *Worker
	process  *registry.Process
	token    registry.Token
	stopping chan struct{}
}

func setupWork(t *testing.T, m *mover) *workBundle {
	t.Helper()
	b := &workBundle{testBundle: setup(t), stopping: make(chan struct{})}
	b.worker, b.process = b.newWorker(t, m)
	b.token = b.event(t, 1, eventlog.Created)
	return b
}

func (b *workBundle) newWorker(t *testing.T, m *mover) (*Worker, *registry.Process) {
	t.Helper()
	process := registry.NewProcess(registry.ProcessConfig{Pool: b.pool, Queue: b.queue, Logger: b.log})
	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return New(Config{
		Registry: registry.New(registry.Config{Pool: b.pool, Jobs: b.queue, Logger: b.log, PublishTimeout: 200 * time.Millisecond}, process),
		Process:  process, Queue: b.queue, Logger: b.log, Stopping: b.stopping,
		Transfers: map[string]Transfer{eventlog.TransferFile: m},
	}), process
}

// event transposes an event of the resource and returns its token.
func (b *workBundle) event(t *testing.T, id int64, op eventlog.Op) registry.Token {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return (&registry.Transposer{Jobs: b.queue}).Apply(t.Context(), tx, eventlog.Batch{
			Events:   []eventlog.Event{{ID: id, Kind: "resource", ResourceID: "x", Op: op, Payload: json.RawMessage("{}")}},
			Timeline: eventlog.Timeline{Ordinal: 1}, Tick: id,
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	token := registry.Token{Kind: "resource", ResourceID: "x"}
	if err := b.pool.QueryRow(t.Context(), "SELECT version FROM casq.registry").Scan(&token.Version); err != nil {
		t.Fatal(err)
	}
	return token
}

// work is one run of the resource's job, at an attempt.
func (b *workBundle) work(ctx context.Context, attempt int) error {
	return b.worker.work(ctx, &rivertype.JobRow{ID: 5, Attempt: attempt, MaxAttempts: 25}, b.token)
}

// errAny is whatever River tries again after.
var errAny = errors.New("any error")

// state is what is left behind.
type state struct {
	claimed   bool
	status    string
	lastError string
	retries   bool
	jobs      int // of the row's version
}

func (b *workBundle) state(t *testing.T) (s state) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), `SELECT r.claim IS NOT NULL, s.status, coalesce(r.last_error, ''), r.retry_at IS NOT NULL,
		(SELECT count(*) FROM river.river_job WHERE (args ->> 'version')::bigint = r.version)
		FROM casq.registry AS r JOIN casq.registry_status AS s USING (kind, resource_id)`).
		Scan(&s.claimed, &s.status, &s.lastError, &s.retries, &s.jobs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A claim that is not given back has the resource stuck for as long as its process
// lives. So: every way out of a run, and what it leaves.
func TestEveryWayOutGivesTheClaimBack(t *testing.T) {
	t.Parallel()
	disk := errors.New("disk full")
	returns := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	panics := func(context.Context) error { panic("a\x00 mistake") }
	thaw := make(chan struct{})
	t.Cleanup(func() { close(thaw) })
	for name, test := range map[string]struct {
		mover   mover
		attempt int
		status  string
		says    string // the row
		retries bool
		err     error // for River; nil: the job is done
		gone    bool  // the run's own claim is another's now
	}{
		"done":                          {status: "synced"},
		"begin fails":                   {mover: mover{begin: returns(disk)}, status: "failed", says: "disk full", retries: true, err: disk},
		"copy fails":                    {mover: mover{copy: returns(disk)}, status: "failed", says: "disk full", retries: true, err: disk},
		"copy fails for the last time":  {mover: mover{copy: returns(disk)}, attempt: 25, status: "failed", says: "disk full", err: disk},
		"publish fails":                 {mover: mover{publish: returns(disk)}, status: "failed", says: "disk full", retries: true, err: disk},
		"publish hangs":                 {mover: mover{publish: func(context.Context) error { <-thaw; return nil }}, status: "failed", says: "did not answer", retries: true, err: context.DeadlineExceeded},
		"source has it not":             {mover: mover{copy: returns(transfer.ErrMissing)}, status: "failed", says: "missing at the source: not found at the source", retries: true, err: river.JobSnooze(0)},
		"source has it not at the last": {mover: mover{copy: returns(transfer.ErrMissing)}, attempt: 25, status: "failed", says: "missing at the source", retries: true, err: river.JobSnooze(0)},
		"source has changed":            {mover: mover{copy: returns(transfer.ErrChanged)}, status: "failed", says: "changed at the source without an event", retries: true, err: transfer.ErrChanged},
		"bad place":                     {mover: mover{begin: returns(transfer.ErrBadPlace)}, status: "failed", says: "unacceptable place", err: river.JobCancel(nil)},
		"bad payload":                   {mover: mover{copy: returns(transfer.ErrBadPayload)}, status: "failed", says: "unacceptable payload", err: river.JobCancel(nil)},
		"begin panics":                  {mover: mover{begin: panics}, status: "failed", says: "panicked: a? mistake", retries: true, err: errAny},
		"copy panics":                   {mover: mover{copy: panics}, status: "failed", says: "panicked: a? mistake", retries: true, err: errAny},
		"publish panics":                {mover: mover{publish: panics}, status: "failed", says: "panicked: a? mistake", retries: true, err: errAny},
		"the result cannot be stored":   {mover: mover{sum: "\x00"}, status: "failed", says: "SQLSTATE 22021", retries: true, err: errAny},
		// A run that is older and woke late has taken the staging away.
		"begin finds its staging gone":   {mover: mover{begin: returns(transfer.ErrFenced)}, status: "failed", says: "took over", retries: true, err: transfer.ErrFenced},
		"copy finds its staging gone":    {mover: mover{copy: returns(transfer.ErrFenced)}, status: "failed", says: "took over", retries: true, err: transfer.ErrFenced},
		"publish finds its staging gone": {mover: mover{publish: returns(transfer.ErrFenced)}, status: "failed", says: "took over", retries: true, err: transfer.ErrFenced},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWork(t, &test.mover)
			err := b.work(t.Context(), max(test.attempt, 1))
			if (err == nil) != (test.err == nil) || !errors.Is(err, test.err) && test.err != errAny { //nolint:errorlint // the table's own
				t.Errorf("River is told %v, want %v", err, test.err)
			}
			got := b.state(t)
			if got.claimed {
				t.Error("the claim was not given back")
			}
			hangs := name == "publish hangs"
			if open := b.worker.Open(); (open == 1) != hangs || (test.mover.closed == 0) != (hangs || test.mover.begin != nil) {
				t.Errorf("%d runs are open, and %d were closed", open, test.mover.closed)
			}
			if got.status != test.status || got.retries != test.retries || !strings.Contains(got.lastError, test.says) || got.jobs != 1 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// What cannot be anywhere fails for as long as it is wanted, and is gone at once
// when it is not.
func TestTheRemovalOfWhatCannotBeIsDone(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{begin: func(context.Context) error { return transfer.ErrBadPlace }})
	if err := b.work(t.Context(), 1); !errors.Is(err, river.JobCancel(nil)) {
		t.Fatal(err)
	}
	b.token = b.event(t, 2, eventlog.Deleted)
	if err := b.work(t.Context(), 1); err != nil {
		t.Errorf("River is told %v", err)
	}
	if got := b.state(t); got.status != "removed" || got.claimed || got.lastError != "" {
		t.Errorf("got %+v", got)
	}
}

// What happens to the row while a run copies.
func TestWhatComesInBetween(t *testing.T) {
	t.Parallel()
	errCopy := errors.New("copy ended")
	type change = func(t *testing.T, b *workBundle)
	update := func(t *testing.T, b *workBundle) { b.event(t, 2, eventlog.Updated) }
	remove := func(t *testing.T, b *workBundle) { b.event(t, 2, eventlog.Deleted) }
	takeOver := func(t *testing.T, b *workBundle) {
		b.exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", b.process.ID())
		other, _ := b.newWorker(t, &mover{})
		if err := other.work(t.Context(), &rivertype.JobRow{ID: 6, Attempt: 1, MaxAttempts: 25}, b.token); err != nil {
			t.Error(err)
		}
	}
	for name, test := range map[string]struct {
		change change
		copy   error
		status string
	}{
		"updated":                   {update, nil, "pending"},
		"updated, copy fails":       {update, errCopy, "pending"},
		"deleted":                   {remove, nil, "removing"},
		"deleted, copy fails":       {remove, errCopy, "removing"},
		"taken over":                {takeOver, nil, "synced"},
		"taken over, copy fails":    {takeOver, errCopy, "synced"},
		"taken over, copy is gone":  {takeOver, transfer.ErrFenced, "synced"},
		"taken over, process knows": {takeOver, registry.ErrProcessLost, "synced"},
		"deleted, and noticed":      {remove, registry.ErrReplaced, "removing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mover{}
			b := setupWork(t, m)
			m.copy = func(context.Context) error {
				test.change(t, b)
				return test.copy
			}
			if err := b.work(t.Context(), 1); err != nil {
				t.Errorf("River is told %v", err)
			}
			if got := b.state(t); got.claimed || got.status != test.status || got.lastError != "" || got.jobs != 1 {
				t.Errorf("got %+v", got)
			}
			if m.closed != 1 {
				t.Errorf("closed %d times", m.closed)
			}
		})
	}
}

// A worker that stops gives its work back unfinished; one whose job was
// cancelled, or timed out, says so.
func TestInterruptedWork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause    error
		stopping bool
		status   string
		says     string
		retries  bool
		jobs     int
		err      error
	}{
		"the worker stops":        {cause: context.Canceled, stopping: true, status: "pending", jobs: 2},
		"the job times out":       {cause: context.DeadlineExceeded, status: "failed", says: "deadline exceeded", retries: true, jobs: 1, err: context.Canceled},
		"the version is given up": {cause: registry.ErrCancelled, status: "failed", says: "cancelled by an operator", jobs: 1, err: river.JobCancel(nil)},
		"the job is cancelled":    {cause: rivertype.ErrJobCancelledRemotely, status: "failed", says: "cancelled by an operator", jobs: 1, err: river.JobCancel(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mover{}
			b := setupWork(t, m)
			ctx, cancel := context.WithCancelCause(t.Context())
			m.copy = func(ctx context.Context) error {
				if test.stopping {
					close(b.stopping)
				}
				cancel(test.cause)
				<-ctx.Done()
				return ctx.Err()
			}
			err := b.work(ctx, 1)
			if (err == nil) != (test.err == nil) || !errors.Is(err, test.err) {
				t.Errorf("River is told %v, want %v", err, test.err)
			}
			if got := b.state(t); got.claimed || got.status != test.status || !strings.Contains(got.lastError, test.says) || got.retries != test.retries || got.jobs != test.jobs {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A publication may be given up before its goroutine has run at all.
func TestNothingIsPublishedByAClosedRun(t *testing.T) {
	t.Parallel()
	m := &mover{}
	run := &guarded{run: m, recovered: func(_ context.Context, f func() error) error { return f() }}
	publish := run.do(func(context.Context) error {
		t.Error("a closed run was used")
		return nil
	})
	if !run.close(slog.New(slog.DiscardHandler)) || m.closed != 1 {
		t.Error("the run was not closed")
	}
	if err := publish(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("error is %v, want %v", err, errClosed)
	}
}
