package registry

import "sync"

// batcher turns concurrent calls into groups: while one group is under way
// the next one fills up by itself, without a delay; see "Batching" in DESIGN.md. A
// second batcher only halves the groups.
//
// mu guards queue and running. While running is set, exactly one goroutine
// takes from the queue, and it clears running only when the queue is empty.
type batcher[T any] struct {
	limit int
	run   func(group []T) // answers each of the group, or puts it back

	mu      sync.Mutex
	queue   []T
	running bool
}

// add queues item; its answer comes through whatever item carries.
func (g *batcher[T]) add(items ...T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, items...)
	if !g.running {
		g.running = true
		go g.loop()
	}
}

func (g *batcher[T]) loop() {
	for {
		group := g.take()
		if group == nil {
			return
		}
		g.run(group)
	}
}

func (g *batcher[T]) take() []T {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.queue), g.limit)
	if n == 0 {
		g.queue, g.running = nil, false
		return nil
	}
	group := g.queue[:n:n]
	g.queue = g.queue[n:]
	return group
}
