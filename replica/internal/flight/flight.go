// Package flight has a question asked once for many.
package flight

import (
	"context"
	"fmt"
	"sync"
)

// Question is one of which one is on its way at a time. Those who ask meanwhile share the
// next one, so that each has an answer to what was asked after its call began.
type Question[T any] struct {
	what       string
	background context.Context
	ask        func(ctx context.Context) (T, error)
	group      sync.WaitGroup

	mu     sync.Mutex
	next   *flight[T] // whoever asks now joins this one
	flying bool
}

type flight[T any] struct {
	done   chan struct{}
	answer T
	err    error
}

// New returns a question that is asked with background: the end of one of those who
// ask does not end it for the others. What it does is for the errors of those who give up.
func New[T any](background context.Context, what string, ask func(context.Context) (T, error)) *Question[T] {
	return &Question[T]{what: what, background: background, ask: ask}
}

// Get returns the answer.
func (q *Question[T]) Get(ctx context.Context) (answer T, err error) {
	q.mu.Lock()
	mine := q.next
	if mine == nil {
		mine = &flight[T]{done: make(chan struct{})}
		q.next = mine
	}
	if !q.flying {
		q.flying = true
		q.group.Go(q.fly)
	}
	q.mu.Unlock()
	select {
	case <-mine.done:
		return mine.answer, mine.err
	case <-ctx.Done():
		return answer, fmt.Errorf("%s: %w", q.what, context.Cause(ctx))
	}
}

// Wait returns when no question is on its way.
func (q *Question[T]) Wait() { q.group.Wait() }

func (q *Question[T]) fly() {
	for {
		q.mu.Lock()
		current := q.next
		q.next = nil
		if current == nil {
			q.flying = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		current.answer, current.err = q.ask(q.background)
		close(current.done)
	}
}
