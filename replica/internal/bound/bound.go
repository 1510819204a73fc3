// Package bound gives contexts that end soon and share a timer.
//
// A timer for each read of a session would cost 1 µs of 40, with a clock that is
// read and a heap that is changed twice, for an end that as a rule nobody lives to see.
package bound

import (
	"context"
	"sync/atomic"
	"time"
)

// Bound gives contexts that end one to one and a half patience after they were asked
// for. The zero value is not usable: see [New].
type Bound struct {
	patience time.Duration
	began    time.Time
	current  atomic.Pointer[shared]
}

// shared is the end of all contexts that were asked for until stale, since began.
type shared struct {
	context.Context
	stale time.Duration
}

// New returns a Bound.
func New(patience time.Duration) *Bound { return &Bound{patience: patience, began: time.Now()} }

// Context returns a context with the values and the deadline of parent. It does not
// end with parent, unless that has ended already: it is for what lasts for patience at
// most.
func (b *Bound) Context(parent context.Context) context.Context {
	if parent.Err() != nil {
		return parent
	}
	now := time.Since(b.began)
	end := b.current.Load()
	if end == nil || now > end.stale {
		ctx, cancel := context.WithTimeout(context.Background(), b.patience+b.patience/2)
		context.AfterFunc(ctx, cancel)
		end = &shared{Context: ctx, stale: now + b.patience/2}
		b.current.Store(end)
	}
	return bounded{parent, end}
}

type bounded struct{ parent, end context.Context }

func (b bounded) Deadline() (time.Time, bool) {
	at, _ := b.end.Deadline()
	if sooner, set := b.parent.Deadline(); set && sooner.Before(at) {
		return sooner, true
	}
	return at, true
}

func (b bounded) Done() <-chan struct{} { return b.end.Done() }

func (b bounded) Err() error { return b.end.Err() }

func (b bounded) Value(key any) any { return b.parent.Value(key) }
