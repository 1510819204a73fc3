package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

// The first statement with which River begins to serve a queue fails, as when the
// server ends sessions just then.
func TestAQueueThatCouldNotBeAddedIsServed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, `CREATE SEQUENCE failures; GRANT USAGE ON SEQUENCE failures TO PUBLIC`)
	b.exec(t, `CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.name = 'fact' AND nextval('public.failures') = 1 THEN RAISE 'sessions are ended'; END IF;
			RETURN NEW;
		END $$`)
	b.exec(t, `CREATE TRIGGER fail_once BEFORE INSERT ON river.river_queue FOR EACH ROW EXECUTE FUNCTION fail_once()`)
	b.exec(t, "SELECT casq.define_kind('fact', 'none')")
	b.exec(t, "SELECT casq.append_event('fact', 'x', 'created')")
	b.until(t, "x", func() bool { return b.count(t, "kind = 'fact' AND synced_version = version") == 1 })
	if !b.log.has("sessions are ended") {
		t.Error("nothing has failed")
	}
}

// No look at the queues comes by itself after the first: a kind whose first event is
// followed is served because the event was.
func TestANewKindIsServedAsSoonAsItHasAnEvent(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, func(cfg *Config) { cfg.TestQueuesEvery = time.Hour })
	b.until(t, "the first look", func() bool { return b.log.has("queue=artifact") })
	for _, kind := range []string{"fact", "opinion"} {
		b.exec(t, "SELECT casq.define_kind($1, 'none')", kind)
		b.exec(t, "SELECT casq.append_event($1, 'x', 'created')", kind)
		b.until(t, "x", func() bool { return b.count(t, "kind = '"+kind+"' AND synced_version = version") == 1 })
	}
}

// deaf is a River client that says once that it serves a queue, and does not.
type deaf struct {
	riverQueues
	said bool
}

func (d *deaf) Add(queue string, config river.QueueConfig) error {
	if queue == "fact" && !d.said {
		d.said = true
		return nil
	}
	return d.riverQueues.Add(queue, config)
}

func TestAQueueThatIsOnlySaidToBeServedIsServedAnew(t *testing.T) {
	long.Test(t)
	t.Parallel()
	url, logger := testdb.New(t).URL, slog.New(slog.DiscardHandler)
	home, err := database.Open(t.Context(), url, database.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(home.Close)
	w := newWorker(Config{HomeURL: url, Logger: logger})
	w.home, w.movers = home, &movers{}
	if w.queue, err = jobs.NewQueue(home, logger); err != nil {
		t.Fatal(err)
	}
	process := registry.NewProcess(registry.ProcessConfig{Pool: home, Queue: w.queue, Logger: logger})
	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	workers, present := river.NewWorkers(), jobs.NewPresent()
	jobs.New(jobs.Config{
		Registry: registry.New(registry.Config{Pool: home, Jobs: w.queue, Logger: logger}, process),
		Process:  process, Queue: w.queue, Logger: logger,
	}).Register(workers)
	client, err := w.newClient(t.Context(), process, workers, present)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	queueFact(t, home, w.queue)
	queues := &queues{worker: w, river: &deaf{riverQueues: client.Queues()}, present: present, served: map[string]int{river.QueueDefault: defaultWorkers}}
	until(t, "the job's end", func() bool {
		if err := queues.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		var done bool
		if err := home.QueryRow(t.Context(), "SELECT state = 'completed' FROM river.river_job WHERE queue = 'fact'").Scan(&done); err != nil {
			t.Fatal(err)
		}
		return done
	})
}

// Somebody whose clock of the database is the one before it went back has queued a job.
// Others than workers, an application that asks for recounts, may do so long after.
func TestAJobOfTheFutureIsBroughtBack(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	queue, err := jobs.NewQueue(b.pool, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, "SELECT casq.define_kind('fact', 'none')")
	b.until(t, "the queue", func() bool { return b.log.has("queue=fact") })
	err = pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		if err := queue.Insert(t.Context(), tx, []registry.Job{{Token: registry.Token{Kind: "fact", ResourceID: "x", Version: 1}}}, false); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), "UPDATE river.river_job SET scheduled_at = now() + interval '1 hour' WHERE queue = 'fact'")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.until(t, "the job's end", func() bool {
		var state string
		if err := b.pool.QueryRow(t.Context(), "SELECT state FROM river.river_job WHERE queue = 'fact'").Scan(&state); err != nil {
			t.Fatal(err)
		}
		return state == "completed"
	})
}

// A job that waits for its retry was attempted in what is the future since home's
// clock went back: written late, after the session of before had noticed. The next
// session brings it back.
func TestARetryOfTheFutureIsBroughtBackByTheNextSession(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, "SELECT casq.define_kind('fact', 'none')")
	b.until(t, "the queue", func() bool { return b.log.has("queue=fact") })
	b.exec(t, `INSERT INTO river.river_job (kind, queue, args, state, attempt, max_attempts, attempted_at, scheduled_at)
		VALUES ('casq_sync', 'fact', '{"kind": "fact", "resource_id": "x", "version": 1}', 'retryable', 1, 25,
			now() + interval '1 hour', now() + interval '1 hour 1 s')`)
	b.exec(t, "UPDATE casq.processes SET dead_at = clock_timestamp()")
	b.until(t, "the job's end", func() bool {
		var state string
		if err := b.pool.QueryRow(t.Context(), "SELECT state FROM river.river_job WHERE queue = 'fact'").Scan(&state); err != nil {
			t.Fatal(err)
		}
		return state == "completed"
	})
}

// River makes the row by which a queue is paused when a worker begins to serve it: who pauses it
// before that has it paused nevertheless, from the beginning.
func TestAQueueIsPausedBeforeItIsServed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db, log := testdb.New(t), &testLog{t: t}
	home, err := database.Open(t.Context(), db.URL, database.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(home.Close)
	queue, err := jobs.NewQueue(home, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	queueFact(t, home, queue)
	for _, name := range []string{"fact", jobs.RequestQueue} {
		if err := queue.Pause(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := queue.Pause(t.Context(), "fantasy"); !errors.Is(err, jobs.ErrUnknownQueue) {
		t.Errorf("pausing what nobody serves: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{HomeURL: db.URL, ArtifactSource: t.TempDir(), ArtifactTarget: t.TempDir(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	// The worker serves the queue, and has done what came later by another one.
	await.True(t, 30*time.Second, "the queue is served", func() bool { return log.has("queue=fact ") && log.has("queue="+jobs.RequestQueue+" ") })
	if _, err := home.Exec(t.Context(), "SELECT casq.define_kind('other', 'none'), casq.append_event('other', 'y', 'created')"); err != nil {
		t.Fatal(err)
	}
	await.Row(t, 30*time.Second, home, "SELECT count(*) = 1 FROM casq.registry WHERE kind = 'other' AND synced_version = version")
	await.Row(t, time.Second, home, "SELECT state = 'available' AND attempt = 0 FROM river.river_job WHERE queue = 'fact'")
	if err := queue.Resume(t.Context(), "fact"); err != nil {
		t.Fatal(err)
	}
	await.Row(t, 30*time.Second, home, "SELECT state = 'completed' FROM river.river_job WHERE queue = 'fact'")
}

// queueFact queues a job that has waited for an hour.
func queueFact(t *testing.T, home *pgxpool.Pool, queue *jobs.Queue) {
	t.Helper()
	if _, err := home.Exec(t.Context(), "SELECT casq.define_kind('fact', 'none')"); err != nil {
		t.Fatal(err)
	}
	err := pgx.BeginFunc(t.Context(), home, func(tx pgx.Tx) error {
		return queue.Insert(t.Context(), tx, []registry.Job{{Token: registry.Token{Kind: "fact", ResourceID: "x", Version: 1}}}, false)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := home.Exec(t.Context(), "UPDATE river.river_job SET scheduled_at = now() - $1::interval", time.Hour); err != nil {
		t.Fatal(err)
	}
}
