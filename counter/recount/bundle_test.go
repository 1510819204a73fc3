package recount

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"casq/counter/internal/countertest"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// queued is a [Jobs] that keeps what it is given; tests carry it out.
//
// mu guards the rest.
type queued struct {
	mu        sync.Mutex
	last      int64
	scans     []int64
	finalizes []Finalize
}

func (q *queued) next() int64 {
	q.last++
	return q.last
}

func (q *queued) Flush(context.Context, pgx.Tx) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next(), nil
}

func (q *queued) Scan(_ context.Context, _ pgx.Tx, scan int64) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.scans = append(q.scans, scan)
	return q.next(), nil
}

func (q *queued) Finalize(_ context.Context, _ pgx.Tx, f Finalize) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finalizes = append(q.finalizes, f)
	return q.next(), nil
}

// take returns what was queued, and forgets it.
func (q *queued) take() (scans []int64, finalizes []Finalize) {
	q.mu.Lock()
	defer q.mu.Unlock()
	scans, finalizes = q.scans, q.finalizes
	q.scans, q.finalizes = nil, nil
	return scans, finalizes
}

// testBundle is a table of artifacts with its counters, and recounts of them.
type testBundle struct {
	*Recounts
	*countertest.Bundle
	settings settings
	queue    *queued
	process  uuid.UUID
}

// settings are those of the counters, and of the recounts above them.
type settings struct {
	*countertest.Settings
	Standbys      []*pgxpool.Pool
	SnapshotLimit time.Duration
}

type pair = countertest.Pair

// use begins with other settings.
func (b *testBundle) use(change ...func(*settings)) {
	for _, f := range change {
		f(&b.settings)
	}
	b.Bundle.Use()
	s := &b.settings
	b.Recounts = New(Config{
		Home: s.Home, Standbys: s.Standbys, Counters: b.Feeds, Jobs: b.queue, Logger: s.Logger,
		SnapshotLimit: s.SnapshotLimit, Hook: s.Hook,
	})
}

func setup(t testing.TB, change ...func(*settings)) *testBundle {
	t.Helper()
	return setupOn(t, testredis.Start(t), change...)
}

// setupOn is setup with a Redis of whatever kind.
func setupOn(t testing.TB, server interface{ URL() string }, change ...func(*settings)) *testBundle {
	t.Helper()
	return setupAt(t, testdb.New(t).URL, server, change...)
}

// setupAt is setup at a database of the test's own.
func setupAt(t testing.TB, url string, server interface{ URL() string }, change ...func(*settings)) *testBundle {
	t.Helper()
	b := &testBundle{queue: &queued{}, process: uuid.New()}
	b.Bundle = countertest.At(t, url, server, func(s *countertest.Settings) { s.Jobs = b.queue })
	b.settings.Settings = &b.Bundle.Settings
	b.use(change...)
	b.Exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'test', 1)", b.process)
	return b
}

// recount asks for a recount and carries it out.
func (b *testBundle) recount(t testing.TB, r Request) {
	t.Helper()
	if _, _, err := b.Refresh(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	b.work(t)
}

// work carries out what is queued until nothing is.
func (b *testBundle) work(t testing.TB) {
	t.Helper()
	for range 100 {
		if !b.step(t) {
			return
		}
	}
	t.Fatal("there is always more to do")
}

// step carries out what is queued now, if there is anything.
func (b *testBundle) step(t testing.TB) bool {
	t.Helper()
	scans, finalizes := b.queue.take()
	scans = append(scans, b.unqueued(t)...)
	for _, id := range scans {
		err := b.Scan(t.Context(), id, 1, b.process)
		if errors.Is(err, ErrBusy) {
			b.queue.scans = append(b.queue.scans, id)
		} else if err != nil && !errors.Is(err, ErrSuperseded) {
			t.Fatal(err)
		}
	}
	for _, f := range finalizes {
		if err := b.Finalize(t.Context(), f, 2); err != nil && !errors.Is(err, ErrSuperseded) {
			t.Fatal(err)
		}
	}
	return len(scans)+len(finalizes) > 0
}

// unqueued gives a job to each recount that the database has asked for by itself,
// as a worker does, and returns their scans.
func (b *testBundle) unqueued(t testing.TB) []int64 {
	t.Helper()
	rows, err := b.Pool.Query(t.Context(), "UPDATE casq.scans SET job = 1 WHERE job IS NULL AND finished_at IS NULL RETURNING id")
	if err != nil {
		t.Fatal(err)
	}
	scans, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return scans
}
