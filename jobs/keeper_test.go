package jobs

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"casq/counter/recount"
	"casq/eventlog"
	"casq/internal/testing/faultproxy"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// keeper is in a hurry: what it meets twice is handed on.
func (b *workBundle) keeper(present *Present) *Keeper {
	return &Keeper{
		Queue: b.queue, Present: present, Process: b.process, Logger: b.log, After: time.Nanosecond,
		Counters: &CounterWorker{Recounts: b.recounts(), Queue: b.queue, Process: b.process.ID(), Logger: b.log},
	}
}

func (b *workBundle) rounds(t *testing.T, k *Keeper) {
	t.Helper()
	for range 3 {
		if err := k.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The database has given a job to this process, and the answer was lost: it runs,
// and nobody works on it.
func TestAJobWhoseFetchHadNoAnswerIsHandedOn(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	network, present, workers := faultproxy.New(), NewPresent(), river.NewWorkers()
	b.worker.Register(workers)
	client, err := river.NewClient(riverpgxv5.New(network.Pool(t, b.pool.Config().ConnString())), &river.Config{
		ID: b.process.ID().String(), Schema: Schema, Logger: b.log, Workers: workers, Middleware: []rivertype.Middleware{present},
		FetchCooldown: FetchCooldown, FetchPollInterval: FetchPollInterval, LeaderElectionDisabled: true,
		Queues: map[string]river.QueueConfig{"resource": {MaxWorkers: 4}}, TestOnly: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	// Only who fetches says who he is.
	network.LoseAnswerTo(b.process.ID().String())
	if err := client.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	<-network.Lost()
	b.until(t, "SELECT state = 'running' FROM river.river_job")
	b.rounds(t, b.keeper(present))
	b.until(t, "SELECT synced_version IS NOT DISTINCT FROM version FROM casq.registry")
	b.until(t, "SELECT count(*) FILTER (WHERE state = 'completed') = 1 AND count(*) = 2 FROM river.river_job")
}

// A server that was not to flush commits has crashed: the claim that was given
// back, and the job that was completed, are there again.
func TestAJobWhoseEndWasLostIsHandedOn(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.exec(t, "UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY[$1]", b.process.ID().String())
	b.exec(t, `UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = $1,
		claim_job = (SELECT id FROM river.river_job), attempts = 1`, b.process.ID())
	b.rounds(t, b.keeper(NewPresent()))
	if got := b.state(t); got.claimed || got.jobs != 2 {
		t.Fatalf("got %+v, want no claim and another job", got)
	}
	if err := b.work(t.Context(), 1); err != nil || b.state(t).status != "synced" {
		t.Errorf("got %+v, %v", b.state(t), err)
	}
}

// What is at work here is left alone, however long it takes.
func TestAJobAtWorkIsNotHandedOn(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.exec(t, "UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY[$1]", b.process.ID().String())
	present := NewPresent()
	var job rivertype.JobRow
	if err := b.pool.QueryRow(t.Context(), "SELECT id, queue FROM river.river_job").Scan(&job.ID, &job.Queue); err != nil {
		t.Fatal(err)
	}
	k := b.keeper(present)
	err := present.Work(t.Context(), &job, func(context.Context) error { b.rounds(t, k); return nil })
	if got := b.state(t); err != nil || got.jobs != 1 {
		t.Errorf("got %+v, %v; want one job", got, err)
	}
	b.rounds(t, k)
	if got := b.state(t); got.jobs != 2 {
		t.Errorf("got %+v; want another job, now that its end is not written", got)
	}
}

// Nobody listened when a job at work was cancelled: it ends by the next round, and
// those beside it go on.
func TestACancelThatNobodyHeardEndsTheJob(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.exec(t, "DELETE FROM river.river_job")
	b.exec(t, `INSERT INTO river.river_job (kind, queue, args, max_attempts, state, attempted_at, attempted_by, metadata)
		VALUES ('casq_verify', 'casq_verify_file', '{}', 4, 'running', now(), ARRAY[$1], '{"cancel_attempted_at": "2026-01-01T00:00:00Z"}'),
		       ('casq_verify', 'casq_verify_file', '{}', 4, 'running', now(), ARRAY[$1], '{}')`, b.process.ID().String())
	rows, err := b.pool.Query(t.Context(), "SELECT id FROM river.river_job ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	present := NewPresent()
	work := func(id int64, inner func(context.Context) error) error {
		return present.Work(t.Context(), &rivertype.JobRow{ID: id}, inner)
	}
	other := work(ids[1], func(beside context.Context) error {
		err := work(ids[0], func(ctx context.Context) error {
			b.rounds(t, b.keeper(present))
			if ctx.Err() != nil {
				return errors.New("was stopped")
			}
			return nil
		})
		if !errors.Is(err, river.ErrJobCancelledRemotely) {
			t.Errorf("the cancelled job ended with %v", err)
		}
		return beside.Err()
	})
	if other != nil {
		t.Errorf("the job beside it: %v", other)
	}
}

// Jobs of all kinds that must not be lost are queued again, once.
func TestJobsOfAllKindsAreHandedOn(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.exec(t, "DELETE FROM river.river_job")
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick) VALUES ('artifact', true, false, 1, 1)`)
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		c := NewCounting(b.queue)
		_, err := c.Scan(t.Context(), tx, 1)
		if err == nil {
			_, err = c.Finalize(t.Context(), tx, recount.Finalize{Scan: 1, Token: uuid.New()})
		}
		if err == nil {
			err = b.queue.InsertChecks(t.Context(), tx, []registry.Token{b.token})
		}
		if err == nil {
			err = b.queue.Insert(t.Context(), tx, []registry.Job{{Token: b.token}}, false)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY[$1]", b.process.ID().String())
	b.exec(t, "UPDATE casq.scans SET token = gen_random_uuid(), process = $1, job = (SELECT min(id) FROM river.river_job)", b.process.ID())
	b.rounds(t, b.keeper(NewPresent()))
	var lacking int
	if err := b.pool.QueryRow(t.Context(), `SELECT count(*) FROM river.river_job AS j WHERE state = 'running'
		AND (SELECT count(*) FROM river.river_job AS o WHERE o.state = 'available' AND o.kind = j.kind AND o.queue = j.queue AND o.args = j.args) <> 1`).Scan(&lacking); err != nil || lacking > 0 {
		t.Errorf("%d of 4 jobs have not exactly one successor, %v", lacking, err)
	}
	var free bool
	if err := b.pool.QueryRow(t.Context(), "SELECT token IS NULL FROM casq.scans").Scan(&free); err != nil || !free {
		t.Errorf("the scan is not free: %v", err)
	}
}

// Jobs that cannot be handed on keep no other from it: neither in this process, nor
// in one that is dead.
func TestWhatCannotBeHandedOnIsInNobodysWay(t *testing.T) {
	t.Parallel()
	for name, handOn := range map[string]func(t *testing.T, b *workBundle){
		"in this process": func(t *testing.T, b *workBundle) {
			k := b.keeper(NewPresent())
			for range 3 {
				_ = k.Round(t.Context()) // what cannot be done is told each time
			}
		},
		"in a dead one": func(t *testing.T, b *workBundle) {
			b.exec(t, "UPDATE river.river_job SET attempted_by = ARRAY[gen_random_uuid()::text]")
			_, other := b.newWorker(t, &mover{})
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() { other.Run(ctx) })
			t.Cleanup(func() { cancel(); group.Wait() })
			b.until(t, "SELECT count(*) = 0 FROM river.river_job WHERE state = 'running' AND kind <> 'casq_refresh'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWork(t, &mover{})
			// A kind that is not defined any more, one that never was, and what is no job.
			b.exec(t, `INSERT INTO river.river_job (id, kind, queue, args, max_attempts)
				SELECT -n, kind, 'a', args::jsonb, 4 FROM (VALUES
					(4, 'casq_verify', '{"kind": "over", "resource_id": "x", "version": 1}'),
					(3, 'casq_sync', '{"kind": "over", "resource_id": "x", "version": 1}'),
					(2, 'casq_refresh', '{"scan": "none"}'),
					(1, 'casq_verify', '{"kind": "over", "resource_id": "x", "version": 1, "contested": true}')) AS j (n, kind, args)`)
			b.exec(t, "UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY[$1]", b.process.ID().String())
			handOn(t, b)
			var left string
			err := b.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM river.river_job WHERE state = 'running' AND kind <> 'casq_refresh'`).Scan(&left)
			if err != nil || left != "" {
				t.Errorf("jobs %s were not handed on, %v", left, err)
			}
			var again int
			err = b.pool.QueryRow(t.Context(), `SELECT count(*) FROM river.river_job WHERE state = 'available' AND kind = 'casq_sync' AND args ->> 'kind' = 'resource'`).Scan(&again)
			if err != nil || again != 1 {
				t.Errorf("the resource has %d jobs, %v", again, err)
			}
		})
	}
}

// Of several jobs of one resource that nobody works on each is written off, in
// whichever order they are met; one that a run of this process holds the claim for
// is left to it.
func TestSeveralJobsOfOneResourceAreHandedOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		holder  string // which of the two jobs has the claim
		order   []int64
		atWork  bool // the holder is
		another bool // job is wanted
	}{
		{name: "older first", order: []int64{5, 9}, another: true},
		{name: "newer first", order: []int64{9, 5}, another: true},
		{name: "the older has the claim", holder: "5", order: []int64{5, 9}, another: true},
		{name: "the older has the claim, newer first", holder: "5", order: []int64{9, 5}, another: true},
		{name: "the newer has the claim", holder: "9", order: []int64{5, 9}, another: true},
		{name: "the newer has the claim, newer first", holder: "9", order: []int64{9, 5}, another: true},
		{name: "the older is at work", holder: "5", order: []int64{9}, atWork: true},
		{name: "the newer is at work", holder: "9", order: []int64{5}, atWork: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setupWork(t, &mover{})
			b.event(t, 2, eventlog.Updated)
			b.exec(t, "UPDATE river.river_job SET id = CASE id WHEN (SELECT min(id) FROM river.river_job) THEN 5 ELSE 9 END, state = 'running', attempted_at = now(), attempted_by = ARRAY[$1]", b.process.ID().String())
			b.exec(t, "SELECT setval('river.river_job_id_seq', 100)")
			if c.holder != "" {
				b.exec(t, "UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = $1, claim_job = $2::bigint, attempts = 1", b.process.ID(), c.holder)
			}
			for range 2 { // as if the first time had no answer
				for _, id := range c.order {
					if err := b.process.HandOn(t.Context(), b.token, id); err != nil {
						t.Fatal(err)
					}
				}
			}
			var claimed, asked bool
			var another int
			err := b.pool.QueryRow(t.Context(), `SELECT claim IS NOT NULL, asked, (SELECT count(*) FROM river.river_job
				WHERE state = 'available' AND (args ->> 'version')::bigint = r.version) FROM casq.registry AS r`).Scan(&claimed, &asked, &another)
			if err != nil {
				t.Fatal(err)
			}
			// One that is too many does nothing: the first run has the version.
			if claimed != c.atWork || (another > 0) != c.another || another > len(c.order) {
				t.Errorf("claimed %v, %d other jobs", claimed, another)
			}
			if c.atWork && !asked {
				t.Error("the run that has it was not asked to see to its going on")
			}
		})
	}
}
