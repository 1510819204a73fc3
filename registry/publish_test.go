package registry_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/registry"
)

// claimMany makes and claims n resources.
func (b *testBundle) claimMany(t *testing.T, r *registry.Registry, n int) []*registry.Claim {
	t.Helper()
	claims := make([]*registry.Claim, n)
	for i := range claims {
		claims[i] = claim(t, r, b.Create(t, int64(1000+i), fmt.Sprintf("k%04d", i)))
	}
	return claims
}

func (b *testBundle) count(t *testing.T, status string) (n int) {
	t.Helper()
	if err := b.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry_status WHERE status = $1", status).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A group has a limited number of publications; the rest keeps its place.
func TestAGroupPublishesALimitedNumber(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	const runs = registry.PublishGroup + 10
	var calls, atOnce, most atomic.Int64
	publish := func(context.Context) error {
		calls.Add(1)
		if n := atOnce.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer atOnce.Add(-1)
		return nil
	}
	var group []*registry.Completion
	for _, c := range b.claimMany(t, r, runs) {
		group = append(group, registry.NewPublication(c, registry.Result{}, publish))
	}
	released := registry.NewRelease(claim(t, r, b.Create(t, 5000, "z")))
	left, err := r.TryComplete(append(group, released))
	if err != nil || len(left) != 10 || calls.Load() != registry.PublishGroup {
		t.Fatalf("%d left after %d publications: %v", len(left), calls.Load(), err)
	}
	select {
	case <-released.Done(): // what publishes nothing need not wait
	default:
		t.Error("a release was left")
	}
	if n := b.count(t, "synced"); n != registry.PublishGroup {
		t.Errorf("%d are synced", n)
	}
	r.CompleteAll(left)
	if n := b.count(t, "synced"); n != runs || calls.Load() != runs {
		t.Errorf("%d are synced after %d publications", n, calls.Load())
	}
	if most.Load() > registry.PublishGroup {
		t.Errorf("%d published at once", most.Load())
	}
}

// Through the batcher, everybody gets an answer however large the rush is.
func TestEverybodyIsAnswered(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	const runs = 3 * registry.PublishGroup
	claims := b.claimMany(t, r, runs)
	var group sync.WaitGroup
	for _, c := range claims {
		group.Go(func() {
			if err := r.Publish(c, registry.Result{}, func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := b.count(t, "synced"); n != runs {
		t.Errorf("%d of %d are synced", n, runs)
	}
}

// A target that hangs holds the row locks no longer than the time-out, also
// when several hang, and does no harm to its neighbours.
func TestATargetThatHangs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const timeout = 300 * time.Millisecond
	locked := make(chan time.Time, 10)
	r := b.Registry(t, func(c *registry.Config) {
		c.PublishTimeout = timeout
		c.Hook = func(point string) {
			if point == "complete:locked" {
				locked <- time.Now()
			}
		}
	})
	thaw := make(chan struct{})
	var hung sync.WaitGroup
	hang := func(context.Context) error { // it does not heed its context
		defer hung.Done()
		<-thaw
		return nil
	}
	var group []*registry.Completion
	for i, c := range b.claimMany(t, r, 5) {
		publish := hang
		if i == 2 {
			publish = func(context.Context) error { return nil }
		} else {
			hung.Add(1)
		}
		group = append(group, registry.NewPublication(c, registry.Result{}, publish))
	}
	go r.CompleteAll(group)
	since := receive(t, "the lock", locked)
	b.Exec(t, "SELECT FROM casq.registry FOR UPDATE")
	if held := time.Since(since); held > timeout+2*time.Second {
		t.Errorf("the rows were locked for %s", held)
	}
	for i, s := range group {
		receive(t, "the answer", s.Done())
		if (s.Err() == nil) != (i == 2) {
			t.Errorf("run %d: %v", i, s.Err())
		}
	}
	if n := b.count(t, "synced"); n != 1 {
		t.Errorf("%d are synced", n)
	}
	if n := b.count(t, "started"); n != 4 {
		t.Errorf("%d still have their claim", n)
	}
	close(thaw)
	hung.Wait()
}
