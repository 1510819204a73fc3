package git

import (
	"context"
	"errors"
	"sync"
)

// What git prints is read into memory: listings of refs, which the source's owner
// can make as long as he likes, times all the runs of a worker. So a run has room for
// a small one, of about ten thousand refs; and two runs at a time, of all, for a large
// one of about a million. Who needs that waits for it, and keeps it until its end, for
// it keeps the refs.
const (
	smallOutput = 1 << 20
	largeOutput = 128 << 20
	largeAtOnce = 2
)

var errTooLong = errors.New("printed too much")

// room is one run's.
//
// mu guards large.
type room struct {
	slots chan struct{}

	mu    sync.Mutex
	large bool
}

// session returns git for one run, and what to call at its end.
func (g *git) session() (*git, func()) {
	own := *g
	own.room = &room{slots: g.large}
	return &own, own.room.leave
}

func (r *room) isLarge() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.large
}

// grow waits for a place among the large ones. Nobody has one and waits for
// another, so that those who have one come to their end.
func (r *room) grow(ctx context.Context) error {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.large = true
	return nil
}

func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.large {
		<-r.slots
		r.large = false
	}
}

// run runs git, again with more room if what it prints needs that.
func (g *git) run(ctx context.Context, call gitCall) (string, error) {
	if g.room == nil { // of no run
		session, end := g.session()
		defer end()
		return session.run(ctx, call)
	}
	if !g.room.isLarge() {
		out, err := g.once(ctx, call, g.small)
		if !errors.Is(err, errTooLong) {
			return out, err
		}
		if err := g.room.grow(ctx); err != nil {
			return "", err
		}
	}
	return g.once(ctx, call, largeOutput)
}
