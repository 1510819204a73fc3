package races

import (
	"context"
	"testing"
	"time"

	"casq/races/refreshkey"
)

// TestR28SlowFlush: a flush waits for a row lock, for longer than any lease.
// Meanwhile more is counted, and another flush runs, which takes what the first
// has in hand as well. Both add it. A flush must be right without being alone.
func TestR28SlowFlush(t *testing.T) {
	t.Parallel()
	t.Run("twin/refreshkey", func(t *testing.T) {
		t.Parallel()
		const lock = 500 * time.Millisecond
		s := newCounterSite(t)
		twin := s.refreshkey(t, func(cfg *refreshkey.Config) { cfg.Lock = lock })
		s.put(t, 9, 1, 0)
		s.exec(t, "INSERT INTO published_statistics VALUES (1, 0)")
		flush := func(ctx context.Context) error { return twin.Flush(ctx, 1) }
		r28(t, s, twin, "SELECT FROM published_statistics FOR UPDATE", flush, func() {
			awaits(t, "the lock of the first flush has expired", func() bool {
				locks, err := s.client.Keys(t.Context(), "*:locked").Result()
				return err == nil && len(locks) == 0
			})
		})
		quiesce(t, twin, map[int64]int64{1: 205})
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		o := s.ours(t)
		flush := func(ctx context.Context) error { _, err := o.counters.Flush(ctx); return err }
		r28(t, s, o, "SELECT FROM casq.counter_shards FOR UPDATE", flush, func() {})
		o.quiesceReal(t, 1)
	})
}

// r28 has two flushes wait for what lock locks.
func r28(t *testing.T, s *counterSite, r recounter, lock string, flush func(context.Context) error, expire func()) {
	t.Helper()
	s.put(t, 1, 1, 100)
	r.arrive(t)
	slow, err := s.pool.Begin(t.Context())
	must(t, err)
	defer slow.Rollback(context.Background())
	_, err = slow.Exec(t.Context(), lock)
	must(t, err)
	ended := make(chan error, 2)
	ctx := t.Context()
	go func() { ended <- flush(ctx) }()
	s.blocked(t, 1)
	expire()
	s.put(t, 2, 1, 5)
	r.arrive(t)
	go func() { ended <- flush(ctx) }()
	s.blocked(t, 2)
	must(t, slow.Rollback(t.Context()))
	must(t, <-ended)
	must(t, <-ended)
}
