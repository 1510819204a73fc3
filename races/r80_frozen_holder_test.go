package races

import (
	"log/slog"
	"testing"
	"time"

	"casq/internal/lease"
)

// TestR80FrozenHolder: the holder is stopped by SIGSTOP in the middle of a batch,
// for longer than its lease lasts. Another obtains the lease and applies the
// batch; then the first one is continued, and goes on where it was: behind the
// look at its lease. Its batch has to be rolled back, and each event applied
// once.
func TestR80FrozenHolder(t *testing.T) {
	t.Parallel()
	t.Run("twin/lease trusted", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		s.tick(t)
		one, two := s.naiveHolder(t), s.naiveHolder(t)
		s.put(t, "a")
		lessor := lease.New(lease.Config{Client: s.client, TTL: longLease})
		held, err := lessor.Obtain(t.Context(), "race", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = held.Release(t.Context()) }()
		one.batch(t) // it has the lease, and is frozen here
		if err := s.client.Del(t.Context(), s.leaseKey(t)).Err(); err != nil {
			t.Fatal(err) // what time does to a lease
		}
		other, err := lease.New(lease.Config{Client: s.client}).Obtain(t.Context(), "race", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Release(t.Context()) }()
		two.batch(t)
		two.apply(t)
		two.save(t)
		one.apply(t)
		one.save(t)
		wantResources(t, s.applied(t), "a", "a")
	})
	for point, name := range map[string]string{
		"batch:read":    "ours/before the transaction",
		"batch:entered": "ours/before the effects",
		"batch:applied": "ours/before the commit",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLeaseSite(t)
			s.put(t, "a", "b")
			// Its session is not ended by its idle time-out.
			frozen := s.start(t, holderSpec{Redis: s.redis.URL(), Lease: shortLease, Idle: longLease, FreezeAt: point})
			frozen.AwaitFrozen("frozen")
			began := time.Now()
			follow(t, s.leased(t, shortLease))
			s.wantApplied(t, "a", "b")
			t.Logf("taken over %v after the holder was frozen", time.Since(began).Round(time.Millisecond))
			frozen.Thaw()
			frozen.Await(point)
			s.put(t, "c")
			s.wantApplied(t, "a", "b", "c")
			s.put(t, "d")
			s.wantApplied(t, "a", "b", "c", "d")
		})
	}
}
