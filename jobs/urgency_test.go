package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// turnstile lets runs begin one at a time, and tells of whom.
type turnstile struct {
	mover
	begun chan string
	next  chan struct{}
}

func (s *turnstile) Begin(ctx context.Context, at transfer.Place) (transfer.Run, error) {
	select {
	case s.begun <- at.Key:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-s.next:
		return &mover{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// River fetches what an event asks for before the backlog of a resync, also for a
// resource that is in the backlog itself: its job there is superseded, and begins
// nothing. The second resync of what waits queues nothing.
func TestAnEventComesBeforeTheBacklogOfAResync(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 8
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, synced_version)
		SELECT 'resource', 'old' || i, 1, 0, 0, '{}', 1 FROM generate_series(1, $1::int) AS i`, n)
	for _, want := range []registry.Resynced{{Raised: n}, {Waiting: n}} {
		if got, err := registry.ResyncKind(t.Context(), b.pool, b.queue, "resource", registry.ResyncOptions{PageSize: 3}); err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if jobs := b.riverJobs(t); len(jobs) != n {
		t.Errorf("%d jobs for %d resources", len(jobs), n)
	}
	gate := &turnstile{begun: make(chan string), next: make(chan struct{})}
	b.startRiver(t, gate)
	begun := func() string { return <-gate.begun }
	if got := begun(); got != "old1" {
		t.Errorf("began with %s", got)
	}
	b.transpose(t, "old8", "fresh")
	for _, want := range []string{"fresh", "old8", "old2", "old3", "old4", "old5", "old6", "old7"} {
		gate.next <- struct{}{}
		if got := begun(); got != want {
			t.Errorf("then came %s, want %s", got, want)
		}
	}
	gate.next <- struct{}{}
	deadline := time.Now().Add(20 * time.Second)
	for done := 0; done < n+2; {
		if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job WHERE state = 'completed'").Scan(&done); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d jobs are completed, want %d", done, n+2)
		}
	}
}

// startRiver works on the kind's jobs, one at a time.
func (b *testBundle) startRiver(t *testing.T, m Transfer) {
	t.Helper()
	process := registry.NewProcess(registry.ProcessConfig{Pool: b.pool, Queue: b.queue, Logger: b.log})
	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	workers := river.NewWorkers()
	New(Config{
		Registry: registry.New(registry.Config{Pool: b.pool, Jobs: b.queue, Logger: b.log}, process),
		Process:  process, Queue: b.queue, Logger: b.log,
		Transfers: map[string]Transfer{eventlog.TransferFile: m},
	}).Register(workers)
	client, err := river.NewClient(riverpgxv5.New(b.pool), &river.Config{
		ID: process.ID().String(), Schema: Schema, Logger: b.log, Workers: workers,
		Queues:              map[string]river.QueueConfig{"resource": {MaxWorkers: 1}},
		FetchCooldown:       FetchCooldown,
		FetchPollInterval:   10 * time.Millisecond,
		ReindexerIndexNames: ReindexerIndexNames(),
	})
	if err == nil {
		err = client.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.StopAndCancel(context.Background()); err != nil {
			t.Error(err)
		}
		if err := process.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// transpose applies an update of each of the keys.
func (b *testBundle) transpose(t *testing.T, keys ...string) {
	t.Helper()
	batch := eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 1}, Tick: 1}
	for i, key := range keys {
		batch.Events = append(batch.Events, eventlog.Event{
			ID: int64(i + 1), Kind: "resource", ResourceID: key, Op: eventlog.Updated, Payload: json.RawMessage("{}"),
		})
	}
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return (&registry.Transposer{Jobs: b.queue}).Apply(t.Context(), tx, batch)
	})
	if err != nil {
		t.Fatal(fmt.Errorf("transpose: %w", err))
	}
}
