package jobs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/await"
	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// start runs the worker's jobs in a River client until the test ends.
func (b *workBundle) start(t *testing.T) {
	t.Helper()
	workers := river.NewWorkers()
	b.worker.Register(workers)
	client, err := river.NewClient(riverpgxv5.New(b.pool), &river.Config{
		Schema: Schema, Logger: b.log, Workers: workers, FetchCooldown: FetchCooldown, FetchPollInterval: FetchPollInterval,
		Queues: map[string]river.QueueConfig{"resource": {MaxWorkers: 4}}, TestOnly: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := client.StopAndCancel(ctx); err != nil {
			t.Error(err)
		}
	})
}

// until waits for a condition.
func (b *testBundle) until(t *testing.T, condition string) {
	t.Helper()
	await.Row(t, 30*time.Second, b.pool, condition)
}

func (b *workBundle) cancel(t *testing.T) registry.Cancelled {
	t.Helper()
	c, err := registry.Cancel(t.Context(), b.pool, b.queue, "resource", "x", registry.CancelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A running copy hears of it; the row says why it failed, no job is left, and a
// resync starts it again.
func TestCancelReachesTheRun(t *testing.T) {
	t.Parallel()
	m, copying := &mover{}, make(chan struct{}, 10)
	m.copy = func(ctx context.Context) error {
		copying <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	b := setupWork(t, m)
	if err := b.insertFor(t); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	<-copying
	if c := b.cancel(t); !c.Running || c.Jobs == 0 || c.Host == "" || c.PID == 0 || c.InPlace || c.Version != b.token.Version {
		t.Errorf("got %+v", c)
	}
	b.until(t, "SELECT status = 'failed' AND claim_process IS NULL FROM casq.registry_status")
	b.until(t, "SELECT count(*) = 0 FROM river.river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled')")
	if got := b.state(t); got.claimed || got.lastError != registry.ErrCancelled.Error() || got.retries {
		t.Errorf("got %+v", got)
	}
	if _, err := registry.ResyncOne(t.Context(), b.pool, b.queue, "resource", "x", false); err != nil {
		t.Fatal(err)
	}
	<-copying
}

func (b *workBundle) insertFor(t *testing.T) error {
	t.Helper()
	return b.insert(t, false, registry.Job{Token: b.token})
}

// What is cancelled in which state, and what becomes of it.
func TestCancel(t *testing.T) {
	t.Parallel()
	cancelled := state{status: "failed", lastError: "cancelled by an operator"}
	type met = registry.Cancelled
	for name, test := range map[string]struct {
		prepare func(t *testing.T, b *workBundle)
		copy    func(t *testing.T, b *workBundle) error // while it copies; nil: nothing runs
		fails   error                                   // what the copy ends with, unless it hears
		met     met
		want    state
	}{
		"waiting":  {met: met{Jobs: 1}, want: cancelled},
		"in place": {prepare: func(t *testing.T, b *workBundle) { _ = b.work(t.Context(), 1) }, met: met{InPlace: true}, want: state{status: "synced"}},
		"to be retried": {
			prepare: func(t *testing.T, b *workBundle) {
				b.exec(t, "UPDATE river.river_job SET state = 'retryable', scheduled_at = now() + '1 day'")
				b.exec(t, "UPDATE casq.registry SET failed_version = version, last_error = 'disk', retry_at = now() + '1 day'")
			},
			met: met{Jobs: 1}, want: cancelled,
		},
		"a dead process has it": {
			prepare: func(t *testing.T, b *workBundle) {
				b.exec(t, "UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = gen_random_uuid()")
			},
			met: met{Jobs: 1}, want: cancelled,
		},
		"running, and it hears":                {copy: func(*testing.T, *workBundle) error { return rivertype.ErrJobCancelledRemotely }, met: met{Jobs: 1, Running: true}, want: cancelled},
		"running, and it does not hear":        {copy: func(*testing.T, *workBundle) error { return nil }, met: met{Jobs: 1, Running: true}, want: state{status: "synced"}},
		"running, and fails by itself":         {copy: func(*testing.T, *workBundle) error { return nil }, fails: errors.New("disk"), met: met{Jobs: 1, Running: true}, want: cancelled},
		"running, and the source lacks it now": {copy: func(*testing.T, *workBundle) error { return nil }, fails: transfer.ErrMissing, met: met{Jobs: 1, Running: true}, want: cancelled},
		"another has asked": {
			copy: func(t *testing.T, b *workBundle) error {
				b.exec(t, "UPDATE casq.registry SET asked = true")
				return rivertype.ErrJobCancelledRemotely
			},
			met: met{Jobs: 1, Running: true}, want: cancelled,
		},
		"an older version runs": {
			copy: func(t *testing.T, b *workBundle) error {
				b.token = b.event(t, 2, eventlog.Updated)
				b.exec(t, "UPDATE casq.registry SET asked = true")
				return rivertype.ErrJobCancelledRemotely
			},
			met: met{Jobs: 1, Running: true}, want: cancelled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mover{}
			b := setupWork(t, m)
			if test.prepare != nil {
				test.prepare(t, b)
			}
			var got met
			if test.copy == nil {
				got = b.cancel(t)
			} else {
				ctx, cancel := context.WithCancelCause(t.Context())
				m.copy = func(ctx context.Context) error {
					cause := test.copy(t, b)
					got = b.cancel(t)
					if cause != nil {
						cancel(cause)
					}
					return cmp.Or(ctx.Err(), test.fails)
				}
				_ = b.work(ctx, 1)
			}
			test.met.Version, test.met.Host, test.met.PID = b.token.Version, got.Host, got.PID
			if got != test.met {
				t.Errorf("met %+v, want %+v", got, test.met)
			}
			state := b.state(t)
			state.jobs = 0
			if state != test.want {
				t.Errorf("left %+v, want %+v", state, test.want)
			}
			b.until(t, "SELECT count(*) = 0 OR bool_and(synced_version = version) FROM casq.registry, river.river_job WHERE state <> 'cancelled' AND (args ->> 'version')::bigint = version")
		})
	}
}

func TestCancelOfNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := registry.Cancel(t.Context(), b.pool, b.queue, "resource", "y", registry.CancelOptions{}); !errors.Is(err, registry.ErrNoRow) {
		t.Errorf("error is %v", err)
	}
}

func TestQueues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	for _, do := range []func(context.Context, string) error{b.queue.Pause, b.queue.Resume} {
		if err := do(ctx, "nobody's"); !errors.Is(err, ErrUnknownQueue) || !strings.Contains(err.Error(), "known: ") || !strings.Contains(err.Error(), "resource") {
			t.Errorf("error is %v", err)
		}
	}
	// That of a kind, which no worker has served yet.
	if err := b.queue.Resume(ctx, "resource"); err != nil {
		t.Error(err)
	}
	if err := b.queue.Pause(ctx, "resource"); err != nil {
		t.Error(err)
	}
	b.exec(t, "INSERT INTO river.river_queue (name, updated_at) VALUES ('facts', now())")
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		return b.queue.Insert(ctx, tx, []registry.Job{{Token: registry.Token{Kind: "resource", ResourceID: "x", Version: 1}}}, false)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do   func(context.Context, string) error
		name string
		want [2]bool // facts, resource
	}{
		{b.queue.Pause, "resource", [2]bool{false, true}},
		{b.queue.Pause, "resource", [2]bool{false, true}},
		{b.queue.Resume, "resource", [2]bool{false, false}},
		{b.queue.Pause, AllQueues, [2]bool{true, true}},
		{b.queue.Resume, "facts", [2]bool{false, true}},
		{b.queue.Resume, AllQueues, [2]bool{false, false}},
	} {
		if err := step.do(ctx, step.name); err != nil {
			t.Fatal(err)
		}
		all, err := b.queue.Queues(ctx)
		// Those that are casq's own have rows too, once all are paused.
		got := slices.DeleteFunc(all, func(q QueueState) bool { return q.Name != "facts" && q.Name != "resource" })
		if err != nil || len(got) != 2 || got[0].Name != "facts" || got[1].Waiting != 1 || got[0].Waiting != 0 {
			t.Fatalf("%+v, %v", all, err)
		}
		if paused := [2]bool{got[0].PausedAt != nil, got[1].PausedAt != nil}; paused != step.want {
			t.Errorf("paused %v, want %v", paused, step.want)
		}
	}
}

// Of a queue that is empty it is found by the index, however many jobs others have.
func TestQueuesAreCountedAlongTheIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO river.river_queue (name, created_at, updated_at) SELECT 'q' || n, now(), now() FROM generate_series(0, 6) AS n")
	b.exec(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue, state)
		SELECT '{}', 'casq_sync', 5, 'q0', 'available' FROM generate_series(1, 5000)`)
	b.exec(t, "VACUUM ANALYZE river.river_job")
	pool, err := database.Open(t.Context(), b.pool.Config().ConnString(), database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	scans := func() (n int64) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), "SELECT pg_stat_force_next_flush()"); err != nil {
			t.Fatal(err)
		}
		if err := pool.QueryRow(t.Context(), "SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'river.river_job'::regclass").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	queue, err := NewQueue(pool, b.log)
	if err != nil {
		t.Fatal(err)
	}
	before := scans()
	states, err := queue.Queues(t.Context())
	if err != nil || len(states) != 7 || states[0].Waiting != 5000 || states[6].Waiting != 0 {
		t.Errorf("queues are %+v: %v", states, err)
	}
	if n := scans() - before; n > 0 {
		t.Errorf("the table was read %d times as a whole", n)
	}
}
