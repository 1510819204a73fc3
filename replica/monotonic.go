package replica

import (
	"context"
	"slices"
	"time"
)

// again takes the server that a monotonic session read from last, if it is still
// there: whatever was seen, it has.
func (s *Session) again(ctx context.Context, db *DB, e expectation, tried *[]*host) (*seat, bool) {
	if !db.options.Monotonic {
		return nil, false
	}
	s.mu.Lock()
	last := s.seen
	s.mu.Unlock()
	if last.server == nil || slices.Contains(*tried, last.host) {
		return nil, false
	}
	if at, ok := last.host.at(); !ok || !at.covers(e.need) {
		return nil, false
	}
	taken, err := last.host.seat(ctx, e.need)
	if err != nil {
		return nil, false
	}
	if taken.proof.server != last.server {
		taken.conn.Release()
		return nil, false
	}
	return taken, true
}

// remembers makes what a monotonic session has seen part of what it needs, so that
// another server may serve it. It is false when the server it was seen on is gone.
func (s *Session) remembers(ctx context.Context, e *expectation) bool {
	if !s.db.options.Monotonic {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.server == nil {
		return true
	}
	at, ok := s.seen.position(ctx)
	if !ok {
		s.pinTo(Pinned)
		return false
	}
	s.carried, s.seen = later(s.carried, at), seen{}
	if !e.need.covers(at) {
		e.need, e.nothing = at, false
	}
	return true
}

// read notes where a monotonic session has read.
func (s *Session) read(t *seat) {
	if !s.db.options.Monotonic {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == nil {
		s.seenPrimary = true
		return
	}
	s.seen = seen{host: t.host, server: t.proof.server, until: time.Now()}
}
