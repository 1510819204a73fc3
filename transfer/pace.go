package transfer

import (
	"context"
	"math"
	"sync"
	"time"
)

// Pace makes all who share it wait, so that together they read no more than
// perSecond bytes a second; 0 is no limit. Turns come in the order in
// which they are asked for, so a large file does not hold up small ones.
//
// mu guards due.
type Pace struct {
	perSecond int64

	mu  sync.Mutex
	due time.Time // when the bytes that were read so far are paid for
}

// NewPace is for all who read from one source.
func NewPace(perSecond int64) *Pace { return &Pace{perSecond: perSecond} }

// most is how much to read at once: what is due within an eighth of a second, so
// that a copy which is cancelled leaves the others little to pay.
func (p *Pace) most() int64 {
	if p.perSecond <= 0 {
		return math.MaxInt64
	}
	return p.perSecond/8 + 1
}

// wait pays for n bytes that were read. What was not read while nobody had
// anything to read is not saved up.
func (p *Pace) wait(ctx context.Context, n int) error {
	if p.perSecond <= 0 {
		return nil
	}
	timer := time.NewTimer(p.turn(n))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func (p *Pace) turn(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Duration(float64(n) / float64(p.perSecond) * float64(time.Second)))
	return p.due.Sub(now)
}
