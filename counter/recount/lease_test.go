package recount

import (
	"context"
	"sync"
	"testing"
	"time"

	"casq/counter"
)

// Two databases that share a Redis count side by side: neither waits for the
// other's lease, nor takes its deltas.
func TestTwoHomesShareARedis(t *testing.T) {
	t.Parallel()
	first := setup(t)
	second := setup(t)
	second.use(func(s *settings) { s.Redis = first.redis })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	for i, b := range []*testBundle{first, second} {
		group.Go(func() { b.Run(ctx) })
		b.exec(t, "INSERT INTO artifacts VALUES (1, 7, $1)", int64(i+1))
		b.tick(t)
	}
	for i, b := range []*testBundle{first, second} {
		b.until(t, func() bool {
			v, err := b.Get(t.Context(), counter.Key{Kind: "artifact", ScopeID: "7"})
			return err == nil && v.Live && v.Size.Int64() == int64(i+1) && v.Items == 1
		})
	}
}

// until polls for a condition.
func (b *testBundle) until(t *testing.T, met func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !met() {
		select {
		case <-deadline:
			t.Fatal("waited in vain")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
