package replica

import (
	"context"
	"time"
)

// waiter is a read that waits until a host has what it needs.
type waiter struct {
	need  Position
	began time.Time
	done  chan bool // capacity 1
}

// await waits until h has need, at most for bound, and holds no connection
// meanwhile. All that wait share the probes of the host. A wait in vain stops others from
// waiting if need is sound: a position that the primary has.
func (h *host) await(ctx context.Context, need Position, bound time.Duration, sound bool) bool {
	w := &waiter{need: need, began: time.Now(), done: make(chan bool, 1)}
	h.mu.Lock()
	if len(h.waiters) >= h.db.options.MaxWaiters {
		h.mu.Unlock()
		return false
	}
	h.waiters[w] = struct{}{}
	h.mu.Unlock()
	defer h.forget(w)
	h.poke()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case reached := <-w.done:
		return reached
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	if sound {
		h.inVain()
	}
	return false
}

func (h *host) forget(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters, w)
}

func (h *host) waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiters)
}

// tell wakes those whose position has come.
func (h *host) tell(at *sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.waiters {
		if at.standby && at.at.covers(w.need) {
			h.measure(time.Since(w.began))
			h.vainFor, h.vainUntil = 0, time.Time{}
			w.done <- true
			delete(h.waiters, w)
		}
	}
}

// release lets all waiters go without success: the host is lost, promoted, or
// drains.
func (h *host) release(reached bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.waiters {
		w.done <- reached
		delete(h.waiters, w)
	}
}

// measure smooths the lag; it is called under h.mu.
func (h *host) measure(took time.Duration) {
	old := time.Duration(h.lag.Load())
	if old == 0 {
		old = took
	}
	h.lag.Store(int64((7*old + took) / 8))
}

// patience is how long a read waits for h; zero is not at all.
func (h *host) patience() time.Duration {
	if h.db.options.Wait != 0 {
		return max(h.db.options.Wait, 0)
	}
	if lag := time.Duration(h.lag.Load()); lag > 0 {
		return min(longestWait, max(2*lag, 2*fastProbe))
	}
	return longestWait
}

// longestVain bounds the time for which nobody waits for a standby that is too
// late to be waited for: paused, or minutes behind.
const longestVain = time.Second

// inVain notes a wait without success: after each, nobody waits for a longer while.
func (h *host) inVain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); !now.Before(h.vainUntil) { // Not once for each that waited beside.
		h.vainFor = min(max(2*h.vainFor, longestWait), longestVain)
		h.vainUntil = now.Add(h.vainFor)
	}
}

// hopeful says whether a wait for h may have success.
func (h *host) hopeful() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !time.Now().Before(h.vainUntil)
}
