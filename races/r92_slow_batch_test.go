package races

import (
	"sync"
	"testing"
	"time"

	"casq/internal/cursor"
	casqdb "casq/internal/database"
)

// TestR92SlowBatch: a batch lasts for three leases. Where the lease is not
// renewed meanwhile, another applies the same batch, and both take effect. As
// long as the holder can renew it, or show a sign of life, nobody must take
// over; when it cannot reach Redis any more while others can, another has to,
// the slow one has to be fenced, and each event be applied once.
func TestR92SlowBatch(t *testing.T) {
	t.Parallel()
	t.Run("twin/lease not renewed", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		s.tick(t)
		one, two := s.naiveHolder(t), s.naiveHolder(t)
		s.put(t, "a")
		ctx := t.Context()
		s.client.SetNX(ctx, "naive", "one", 50*time.Millisecond)
		one.batch(t)
		for obtained := false; !obtained; { // the batch lasts
			obtained = s.client.SetNX(ctx, "naive", "two", longLease).Val()
		}
		two.batch(t)
		two.apply(t)
		two.save(t)
		one.apply(t)
		one.save(t)
		wantResources(t, s.applied(t), "a", "a")
	})
	t.Run("ours/renewed", func(t *testing.T) {
		t.Parallel()
		r := newR92(t)
		r.keep(t)
	})
	t.Run("ours/without Redis", func(t *testing.T) {
		t.Parallel()
		r := newR92(t)
		r.slow.Redis, r.other.Redis = nil, nil
		r.keep(t)
	})
	t.Run("ours/cut off from Redis", func(t *testing.T) {
		t.Parallel()
		r := newR92(t)
		way := &cable{}
		r.slow.Redis = way.client(t, r.site.redis)
		follow(t, r.slow)
		<-r.entered
		way.sever()
		follow(t, r.other)
		r.site.wantApplied(t, "a", "b")
		close(r.goOn)
		r.site.put(t, "c")
		r.site.wantApplied(t, "a", "b", "c")
		if got := r.site.epoch(t); got != "2" {
			t.Errorf("the log was taken over %s times, want 2 with the start", got)
		}
	})
}

// r92Lease is long against the pauses of a busy machine between two renewals.
const r92Lease = 3 * time.Second

type r92 struct {
	site          *leaseSite
	slow, other   cursor.Config
	entered, goOn chan struct{}
}

// newR92 is a log, and a cursor that stops in its first batch.
func newR92(t *testing.T) *r92 {
	t.Helper()
	s := newLeaseSite(t)
	r := &r92{site: s, entered: make(chan struct{}), goOn: make(chan struct{})}
	r.slow, r.other = s.leased(t, r92Lease), s.leased(t, r92Lease)
	// A batch that works sends statements; this one only waits.
	patient, err := casqdb.Open(t.Context(), s.url, casqdb.Options{SearchPath: "public", IdleInTransaction: longLease})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(patient.Close)
	r.slow.Home = patient
	var once sync.Once
	r.slow.Hook = func(point string) {
		if point == "batch:entered" {
			once.Do(func() {
				close(r.entered)
				<-r.goOn
			})
		}
	}
	s.put(t, "a", "b")
	return r
}

// keep wants the slow one to keep the log.
func (r *r92) keep(t *testing.T) {
	t.Helper()
	follow(t, r.slow)
	<-r.entered
	follow(t, r.other)
	timer := time.NewTimer(3 * r92Lease)
	defer timer.Stop()
	<-timer.C
	if got := r.site.epoch(t); got != "1" {
		t.Errorf("the log was taken over %s times, want 1 with the start", got)
	}
	close(r.goOn)
	r.site.wantApplied(t, "a", "b")
	r.site.put(t, "c")
	r.site.wantApplied(t, "a", "b", "c")
	if got := r.site.epoch(t); got != "1" {
		t.Errorf("the log was taken over %s times, want 1 with the start", got)
	}
}
