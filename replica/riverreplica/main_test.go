package riverreplica_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/expect"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
	"casq/replica/riverreplica"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// args are of a job that reads document a.
type args struct {
	Fail   int  // the attempt that writes, and fails
	Snooze bool // the first run writes, and snoozes
}

func (args) Kind() string { return "read" }

// run is what a job met.
type run struct {
	body   string
	choice replica.Choice
	job    *rivertype.JobRow
}

type worker struct {
	river.WorkerDefaults[args]

	site    *site
	declare rivertype.WorkerMiddleware
	snoozed atomic.Bool
}

func (w *worker) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	if w.declare == nil {
		return nil
	}
	return []rivertype.WorkerMiddleware{w.declare}
}

func (w *worker) NextRetry(*river.Job[args]) time.Time { return time.Now() }

func (w *worker) Work(ctx context.Context, job *river.Job[args]) error {
	if job.Args.Fail == job.Attempt {
		if _, err := w.site.db.Exec(ctx, "UPDATE documents SET body = 'by the first attempt'"); err != nil {
			return err
		}
		return context.DeadlineExceeded
	}
	if job.Args.Snooze && w.snoozed.CompareAndSwap(false, true) {
		if _, err := w.site.db.Exec(ctx, "UPDATE documents SET body = 'by the first run'"); err != nil {
			return err
		}
		return river.JobSnooze(time.Millisecond)
	}
	r := run{job: job.JobRow}
	if err := w.site.db.QueryRow(ctx, "SELECT body FROM documents WHERE id = 'a'").Scan(&r.body); err != nil {
		return err
	}
	choices := replica.FromContext(ctx).Choices()
	r.choice = choices[len(choices)-1]
	w.site.runs <- r
	return nil
}

// site is a bench with River, one worker, and what its jobs met.
type site struct {
	*replicatest.Bench
	db      *replica.DB
	client  *river.Client[pgx.Tx]
	runs    chan run
	snoozed <-chan *river.Event
}

func newSite(t *testing.T, declare rivertype.WorkerMiddleware) *site {
	t.Helper()
	bench := replicatest.New(t, 1)
	bench.Exec(t, "INSERT INTO documents VALUES ('a', 'old')")
	migrator, err := rivermigrate.New(riverpgxv5.New(bench.Primary), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	must(t, err)
	s := &site{Bench: bench, db: bench.Open(t, replica.Options{}), runs: make(chan run, 100)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{site: s, declare: declare})
	config := &river.Config{
		Logger: slog.New(slog.DiscardHandler), Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
		FetchPollInterval: 50 * time.Millisecond, FetchCooldown: 10 * time.Millisecond,
	}
	config.Middleware = []rivertype.Middleware{&riverreplica.Middleware{DB: s.db}}
	s.client, err = river.NewClient(riverpgxv5.New(bench.Primary), config)
	must(t, err)
	events, cancel := s.client.Subscribe(river.EventKindJobSnoozed, river.EventKindJobFailed)
	t.Cleanup(cancel)
	s.snoozed = events
	return s
}

func (s *site) start(t *testing.T) {
	t.Helper()
	must(t, s.client.Start(t.Context()))
	t.Cleanup(func() { _ = s.client.StopAndCancel(context.Background()) })
}

// change has document a say "new", and inserts a job in the same transaction.
func (s *site) change(t *testing.T, job args) {
	t.Helper()
	must(t, pgx.BeginFunc(t.Context(), s.Primary, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "UPDATE documents SET body = 'new'"); err != nil {
			return err
		}
		_, err := s.client.InsertTx(t.Context(), tx, job, nil)
		return err
	}))
}

// ran waits for a job's run, event for what became of one.
func (s *site) ran(t *testing.T) run { return receive(t, s.runs) }

func (s *site) event(t *testing.T) *river.Event { return receive(t, s.snoozed) }

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	return await.Value(t, time.Minute, "nothing came", from)
}

var must = expect.NoError
