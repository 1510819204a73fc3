package jobs

import (
	"context"
	"errors"
	"testing"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/riverqueue/river/rivertype"
)

// bucketMover is a mover whose target is not fenced.
type bucketMover struct {
	mover
	contested bool
	absent    error
}

func (m *bucketMover) Begin(ctx context.Context, place transfer.Place) (transfer.Run, error) {
	_, err := m.mover.Begin(ctx, place)
	return m, err
}
func (m *bucketMover) Unfenced() bool  { return true }
func (m *bucketMover) Contested() bool { return m.contested }
func (m *bucketMover) VerifyAbsent(context.Context, transfer.Place) error {
	return m.absent
}

func setupUnfenced(t *testing.T, m *bucketMover) *workBundle {
	t.Helper()
	b := setupWork(t, &m.mover)
	b.worker.cfg.Transfers[eventlog.TransferFile] = m
	return b
}

// checks are the states of the contested checks, which have no use for a version.
func (b *workBundle) checks(t *testing.T) (scheduled, available int) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'scheduled'), count(*) FILTER (WHERE state = 'available')
		FROM river.river_job WHERE kind = 'casq_verify' AND (args -> 'contested')::boolean`).Scan(&scheduled, &available)
	if err != nil {
		t.Fatal(err)
	}
	return scheduled, available
}

// Who may have a rival whose write is still on its way has the place compared,
// and nobody else.
func TestContestedPlacesAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	disk := errors.New("disk")
	for name, test := range map[string]struct {
		mover                *bucketMover
		attempts             int
		scheduled, available int
		status               string
	}{
		"first":           {mover: &bucketMover{}, status: "synced"},
		"contested":       {mover: &bucketMover{contested: true}, scheduled: 2, status: "synced"},
		"second attempt":  {mover: &bucketMover{}, attempts: 1, scheduled: 2, status: "synced"},
		"copy fails":      {mover: &bucketMover{contested: true, mover: mover{copy: func(context.Context) error { return disk }}}, status: "failed"},
		"write fails":     {mover: &bucketMover{mover: mover{publish: func(context.Context) error { return disk }}}, status: "failed"},
		"fenced too late": {mover: &bucketMover{mover: mover{publish: func(context.Context) error { return transfer.ErrFenced }}}, available: 1, status: "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupUnfenced(t, test.mover)
			b.exec(t, "UPDATE casq.registry SET attempts = $1", test.attempts)
			_ = b.work(t.Context(), 1)
			if got := b.state(t); got.claimed || got.status != test.status {
				t.Errorf("got %+v", got)
			}
			if scheduled, available := b.checks(t); scheduled != test.scheduled || available != test.available {
				t.Errorf("%d checks later and %d now, want %d and %d", scheduled, available, test.scheduled, test.available)
			}
		})
	}
}

// The checks are there before the write is asked for: whoever dies in it cannot
// take them along.
func TestChecksAreQueuedBeforeTheWrite(t *testing.T) {
	t.Parallel()
	m := &bucketMover{contested: true}
	b := setupUnfenced(t, m)
	m.publish = func(context.Context) error {
		if scheduled, _ := b.checks(t); scheduled != 2 {
			t.Errorf("%d checks wait", scheduled)
		}
		return nil
	}
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

// A contested check is for whatever is wanted by then.
func TestAContestedCheckLooksAtTheNewestVersion(t *testing.T) {
	t.Parallel()
	m := &bucketMover{absent: transfer.ErrMismatch}
	b := setupUnfenced(t, m)
	old := VerifyArgs{b.token.Kind, b.token.ResourceID, b.token.Version, true}
	b.token = b.event(t, 2, eventlog.Updated)
	if err := b.verify(t.Context(), old); !errors.Is(err, &rivertype.JobSnoozeError{}) {
		t.Errorf("not in place yet: %v", err)
	}
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	m.verify = func(context.Context) error { return transfer.ErrMismatch }
	if err := b.verify(t.Context(), old); err != nil || b.version(t) <= b.token.Version {
		t.Errorf("a newer version that differs: %v", err)
	}
	// What was removed has come back.
	b.token = b.event(t, 3, eventlog.Deleted)
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(t.Context(), old); err != nil || b.version(t) <= b.token.Version {
		t.Errorf("a removal that differs: %v", err)
	}
	b.token = registry.Token{Kind: b.token.Kind, ResourceID: b.token.ResourceID, Version: b.version(t)}
	m.absent = nil
	if err := b.work(t.Context(), 1); err != nil || b.state(t).status != "removed" {
		t.Errorf("removed again: %v, %+v", err, b.state(t))
	}
	if err := b.verify(t.Context(), old); err != nil || b.version(t) != b.token.Version {
		t.Errorf("a removal that holds: %v", err)
	}
}
