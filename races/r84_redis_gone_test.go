package races

import (
	"log/slog"
	"testing"
	"time"

	"casq/internal/lease"
	"casq/internal/testing/await"
	"casq/internal/testing/testproc"
	"casq/internal/testing/testredis"
)

// TestR84RedisGone: Redis is down, and meanwhile the holder is killed, or
// frozen. Whoever follows the log only with a lease in hand stands still until
// Redis is back. Following has to go on, and another has to take over.
func TestR84RedisGone(t *testing.T) {
	t.Parallel()
	t.Run("twin/only with a lease", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		s.tick(t)
		twin := s.naiveHolder(t)
		if err := s.redis.Kill(); err != nil {
			t.Fatal(err)
		}
		s.put(t, "a")
		for range 3 {
			held, err := lease.New(lease.Config{Client: s.client, TTL: time.Second}).Obtain(t.Context(), "race", slog.New(slog.DiscardHandler))
			if err != nil {
				continue
			}
			twin.batch(t)
			twin.apply(t)
			_ = held.Release(t.Context())
		}
		wantResources(t, s.applied(t)) // and never "a"
	})
	t.Run("ours/killed", func(t *testing.T) {
		t.Parallel()
		s, holder := newR84(t, longLease, "")
		took := time.Now()
		holder.Kill()
		s.put(t, "c")
		s.wantApplied(t, "a", "b", "c")
		t.Logf("taken over %v after the holder was killed", time.Since(took).Round(time.Millisecond))
		s.back(t)
	})
	t.Run("ours/frozen", func(t *testing.T) {
		t.Parallel()
		s, holder := newR84(t, shortLease, "batch:read")
		began := time.Now()
		s.put(t, "c")
		holder.AwaitFrozen("frozen")
		s.wantApplied(t, "a", "b", "c")
		t.Logf("taken over %v after the holder was frozen", time.Since(began).Round(time.Millisecond))
		holder.Thaw()
		s.back(t)
	})
}

// newR84 is a log that a process follows while Redis is down, and this one
// waits. The process is frozen at a point of its third batch.
func newR84(t *testing.T, lease time.Duration, freezeAt string) (*leaseSite, *testproc.Process) {
	t.Helper()
	s := newLeaseSite(t)
	s.put(t, "a")
	holder := s.start(t, holderSpec{Redis: s.redis.URL(), Lease: lease, Idle: longLease, FreezeAt: freezeAt, FreezeIn: 3})
	s.wantApplied(t, "a")
	follow(t, s.leased(t, lease))
	if err := s.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	s.put(t, "b")
	s.wantApplied(t, "a", "b")
	return s, holder
}

// back starts Redis again: it is empty, and the log goes on.
func (s *leaseSite) back(t *testing.T) {
	t.Helper()
	testredis.Restart(t, s.redis)
	s.put(t, "d")
	s.wantApplied(t, "a", "b", "c", "d")
	s.untilLeased(t)
	s.put(t, "e")
	s.wantApplied(t, "a", "b", "c", "d", "e")
}

// untilLeased waits until Redis says again who follows the log.
func (s *leaseSite) untilLeased(t *testing.T) {
	t.Helper()
	await.True(t, time.Minute, "Redis knows who follows the log", func() bool {
		keys, err := s.client.Keys(t.Context(), "casq:lease:*").Result()
		return err == nil && len(keys) == 1
	})
}
