package replica

import (
	"testing"
	"time"
)

// TestAWaitForWhatMayNotExist: only a position that the primary has says that a standby
// is late, when it does not come.
func TestAWaitForWhatMayNotExist(t *testing.T) {
	t.Parallel()
	h := &host{db: &DB{options: Options{MaxWaiters: 1}}, wake: make(chan struct{}, 1), waiters: make(map[*waiter]struct{})}
	for _, sound := range []bool{false, true} {
		if h.await(t.Context(), Position{1, 1}, time.Millisecond, sound) {
			t.Fatal("a host that is never probed has reached it")
		}
		if h.hopeful() == sound {
			t.Errorf("after a wait in vain for a position that the primary has (%t) others wait: %t", sound, h.hopeful())
		}
	}
}
