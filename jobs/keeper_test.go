package jobs

import (
	"context"
	"testing"
	"time"

	"casq/counter"
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
		Counters: &CounterWorker{Queue: b.queue, Process: b.process.ID(), Logger: b.log},
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
		Queues: map[string]river.QueueConfig{"thing": {MaxWorkers: 4}}, TestOnly: true,
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

// Jobs of all kinds that must not be lost are queued again, once.
func TestJobsOfAllKindsAreHandedOn(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.exec(t, "DELETE FROM river.river_job")
	b.exec(t, `INSERT INTO casq.scans (kind, whole, compare, floor_life, floor_tick) VALUES ('artifact', true, false, 1, 1)`)
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		c := NewCounting(b.queue)
		_, err := c.Scan(t.Context(), tx, 1)
		if err == nil {
			_, err = c.Finalize(t.Context(), tx, counter.Finalize{Scan: 1, Token: uuid.New()})
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
