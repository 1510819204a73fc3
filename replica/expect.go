package replica

import "context"

// expectation is what a read must meet.
type expectation struct {
	need Position
	// why is the reason when only the primary can meet it.
	why Reason
	// primary says that it is the primary whatever the standbys have.
	primary bool
	// nothing says that the session expects nothing.
	nothing bool
	// token says that need comes from a token, which may be of a future.
	token bool
}

// expect returns what the next read of the session must meet. Before the first one,
// all objects' positions come in one round trip; later reads ask for those only that
// were being written.
func (s *Session) expect(ctx context.Context) expectation {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.pinned && s.pin != ForeignToken:
		return expectation{primary: true, why: s.pin}
	case len(*s.db.hosts.Load()) == 0:
		return expectation{primary: true, why: NoStandby}
	}
	s.verify(ctx)
	if s.foreign {
		s.replaceForeign(ctx)
	}
	if s.pinned {
		return expectation{primary: true, why: s.pin, need: s.carried}
	}
	return s.compute(ctx)
}

// expectOf returns what a statement of a transaction must meet whose host is chosen
// already, also where that is the primary.
func (s *Session) expectOf(ctx context.Context) expectation {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verify(ctx)
	if s.foreign {
		s.replaceForeign(ctx)
	}
	e := s.compute(ctx)
	if s.foreign { // It is not known what that stands for.
		return expectation{primary: true, why: ForeignToken, need: e.need}
	}
	return e
}

func (s *Session) compute(ctx context.Context) expectation {
	if why, primary := s.readStore(ctx); primary {
		return expectation{primary: true, why: why, need: s.maximum().need}
	}
	if s.seenPrimary {
		s.settleSeen(ctx)
		if s.foreign { // It is not known what a standby must have.
			return expectation{primary: true, why: Pinned}
		}
	}
	return s.maximum()
}

func (s *Session) maximum() expectation {
	need, why, token := s.carried, NoneCaughtUp, true
	if !need.covers(s.stored) {
		need, why, token = s.stored, s.storedWhy, false
	}
	if !s.wrote.IsZero() && s.wrote.covers(need) {
		need, why, token = s.wrote, AfterWrite, false
	}
	return expectation{need: need, why: why, token: token, nothing: need.IsZero()}
}

// verify compares the timelines of tokens with those of the primary.
func (s *Session) verify(ctx context.Context) {
	for len(s.unverified) > 0 {
		at := s.unverified[0]
		known, err := s.db.primary.knows(ctx, at.Timeline)
		if err != nil || !known {
			s.foreign = true // Whatever it was, it is not beyond the primary's present.
		} else {
			s.carried = later(s.carried, at)
		}
		s.unverified = s.unverified[1:]
	}
}

// replaceForeign has the session need the primary's present position instead of
// what cannot be compared, and read from the primary: a later session, with this
// one's token, returns to the standbys.
func (s *Session) replaceForeign(ctx context.Context) {
	s.pinTo(ForeignToken)
	if at, err := s.db.primary.present(ctx); err == nil {
		s.carried, s.foreign = later(s.carried, at), false
	}
}

// future asks whether the session's token lies beyond the primary's present
// position. Then it was forged, or is of a log that was lost.
func (s *Session) future(ctx context.Context) bool {
	newest := s.db.primary.newest.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if newest != nil && newest.covers(s.carried) {
		return false
	}
	at, err := s.db.primary.present(ctx)
	if err != nil || at.covers(s.carried) {
		return false
	}
	s.carried = at
	s.pinTo(ForeignToken)
	return true
}

// readStore asks the store about the objects that it was not asked about. What it
// cannot tell is read from the primary.
func (s *Session) readStore(ctx context.Context) (Reason, bool) {
	keeper := s.db.store
	if keeper == nil || len(s.unread) == 0 {
		s.unread = nil
		return 0, false
	}
	found, err := keeper.read(ctx, s.unread)
	if !found.position.IsZero() && !s.stored.covers(found.position) {
		s.stored, s.storedWhy = found.position, found.why
	}
	s.unread = found.unread
	switch {
	case err != nil:
		return StoreAway, true
	case len(found.unread) > 0:
		return BeingWritten, true
	default:
		return 0, false
	}
}
