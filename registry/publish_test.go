package registry

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// claimMany makes and claims n resources.
func (b *testBundle) claimMany(t *testing.T, r *Registry, n int) []*Claim {
	t.Helper()
	claims := make([]*Claim, n)
	for i := range claims {
		claims[i] = claim(t, r, b.create(t, int64(1000+i), fmt.Sprintf("k%04d", i)))
	}
	return claims
}

func (b *testBundle) count(t *testing.T, status string) (n int) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry_status WHERE status = $1", status).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A group has a limited number of publications; the rest keeps its place.
func TestAGroupPublishesALimitedNumber(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	const runs = publishGroup + 10
	var calls, atOnce, most atomic.Int64
	publish := func(context.Context) error {
		calls.Add(1)
		if n := atOnce.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer atOnce.Add(-1)
		return nil
	}
	var group []*completion
	for _, c := range b.claimMany(t, r, runs) {
		group = append(group, &completion{claim: c, outcome: published, publish: publish, done: make(chan struct{})})
	}
	released := &completion{claim: claim(t, r, b.create(t, 5000, "z")), outcome: released, done: make(chan struct{})}
	left, err := r.tryComplete(append(group, released))
	if err != nil || len(left) != 10 || calls.Load() != publishGroup {
		t.Fatalf("%d left after %d publications: %v", len(left), calls.Load(), err)
	}
	select {
	case <-released.done: // what publishes nothing need not wait
	default:
		t.Error("a release was left")
	}
	if n := b.count(t, "synced"); n != publishGroup {
		t.Errorf("%d are synced", n)
	}
	r.completeAll(left)
	if n := b.count(t, "synced"); n != runs || calls.Load() != runs {
		t.Errorf("%d are synced after %d publications", n, calls.Load())
	}
	if most.Load() > publishGroup {
		t.Errorf("%d published at once", most.Load())
	}
}

// Through the batcher, everybody gets an answer however large the rush is.
func TestEverybodyIsAnswered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	const runs = 3 * publishGroup
	claims := b.claimMany(t, r, runs)
	var group sync.WaitGroup
	for _, c := range claims {
		group.Go(func() {
			if err := r.Publish(c, Result{}, func(context.Context) error { return nil }); err != nil {
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
	r := b.registry(t, func(c *Config) {
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
	var group []*completion
	for i, c := range b.claimMany(t, r, 5) {
		s := &completion{claim: c, outcome: published, publish: hang, done: make(chan struct{})}
		if i == 2 {
			s.publish = func(context.Context) error { return nil }
		} else {
			hung.Add(1)
		}
		group = append(group, s)
	}
	go r.completeAll(group)
	since := receive(t, "the lock", locked)
	b.exec(t, "SELECT FROM casq.registry FOR UPDATE")
	if held := time.Since(since); held > timeout+2*time.Second {
		t.Errorf("the rows were locked for %s", held)
	}
	for i, s := range group {
		receive(t, "the answer", s.done)
		if (s.err == nil) != (i == 2) {
			t.Errorf("run %d: %v", i, s.err)
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
