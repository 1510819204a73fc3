package worker

import (
	"context"
	"sync"
	"time"

	"casq/internal/pause"
)

const (
	// healthEvery is between two questions at least, and there are none while nobody wants to
	// know.
	healthEvery   = 5 * time.Second
	healthTimeout = 5 * time.Second
)

// health is the sentence of casq.health_sentence. Nobody waits for it: a statement that
// waits for a lock, or for a server, would have a probe say that this worker is not ready.
//
// mu guards text and at.
type health struct {
	ask    func(context.Context) (string, error)
	wanted chan struct{} // has room for one

	mu   sync.Mutex
	text string
	at   time.Time // when home said so
}

func (w *worker) newHealth() *health {
	return &health{wanted: make(chan struct{}, 1), ask: func(ctx context.Context) (sentence string, err error) {
		err = w.home.QueryRow(ctx, "SELECT casq.health_sentence()").Scan(&sentence)
		return sentence, err
	}}
}

// sentence is what home said last, and how many seconds ago; "" until it has. It has home
// asked again.
func (h *health) sentence() (text string, age int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.wanted <- struct{}{}:
	default: // it will be asked for
	}
	if h.text == "" {
		return "", 0
	}
	return h.text, int(time.Since(h.at).Seconds())
}

// run asks home, until ctx is done. One that does not answer leaves what it said before,
// which grows old.
func (h *health) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wanted:
		}
		if text, err := h.asked(ctx); err == nil {
			h.mu.Lock()
			h.text, h.at = text, time.Now()
			h.mu.Unlock()
		}
		_ = pause.For(ctx, healthEvery)
	}
}

func (h *health) asked(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return h.ask(ctx)
}
