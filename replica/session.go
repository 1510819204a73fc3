package replica

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Session is one request, or one job: what it deals with, and what it has met. All
// its reads are from hosts that have everything it may expect. Its methods may be
// used by several goroutines.
type Session struct {
	db *DB

	mu sync.Mutex
	// watched are all objects; unread are those the store was not asked about yet, or
	// must be asked again.
	watched set
	unread  []Object

	// What a read must meet is the maximum of these. None of them ever goes back.
	wrote   Position // what this session wrote
	carried Position // tokens, and what replaced those that mean nothing here
	stored  Position // the store's
	// storedWhy is the reason when no standby has stored.
	storedWhy Reason

	unverified []Position // of tokens whose timelines were not compared yet
	foreign    bool       // a token means nothing here, or a commit is unresolved
	pinned     bool
	pin        Reason

	seen        seen
	seenPrimary bool // monotonic: the primary was read since seen

	choices []Choice
	few     [2]Choice // where choices begins: most sessions make no more
}

// seen is where a monotonic session read last.
type seen struct {
	host   *host
	server *server
	until  time.Time
}

const (
	rememberedChoices = 32
	carriedTokens     = 16
)

// Session begins a session that deals with objects; none is allowed.
func (db *DB) Session(objects ...Object) *Session {
	s := &Session{db: db}
	s.choices = s.few[:0]
	s.Watch(objects...)
	return s
}

type contextKey struct{}

// NewContext returns a context whose statements, through the methods of [DB], belong
// to session.
func NewContext(ctx context.Context, session *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, session)
}

// FromContext returns the session of ctx, or nil.
func FromContext(ctx context.Context) *Session {
	session, _ := ctx.Value(contextKey{}).(*Session)
	return session
}

// Watch adds objects. Those that are watched already stay so.
func (s *Session) Watch(objects ...Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched.list = slices.Grow(s.watched.list, len(objects))
	s.unread = slices.Grow(s.unread, len(objects))
	for _, object := range objects {
		if s.watched.add(object) {
			s.unread = append(s.unread, object)
		}
	}
}

// Watched returns the objects of the session.
func (s *Session) Watched() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.watched.list)
}

// marked returns the objects that the store must be asked about again.
func (s *Session) marked() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unread)
}

// Carry takes over what another session has met, by its token. Whatever the text
// is, it is no error: a token that cannot be read, or is of another cluster, or of a
// future, sends this session to the primary and is then replaced.
func (s *Session) Carry(token string) {
	if token == "" {
		return
	}
	at, err := ParseToken(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(s.unverified) == carriedTokens {
		s.foreign = true // also "unresolved"
		return
	}
	if s.db.primary.remembers(at.Timeline) {
		s.carried = later(s.carried, at)
	} else if !slices.Contains(s.unverified, at) {
		s.unverified = append(s.unverified, at)
	}
}

// Token returns what this session has met and written, for the next one to [Carry]:
// "" is nothing. A commit whose answer was lost makes it "v1.unresolved" until a read
// has asked the primary. In a monotonic session it asks the host that was read from.
func (s *Session) Token(ctx context.Context) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleSeen(ctx)
	if s.foreign {
		return unresolvedToken
	}
	met := later(later(s.wrote, s.carried), s.stored)
	for _, at := range s.unverified {
		met = later(met, at)
	}
	return met.Token()
}

// settleSeen turns what a monotonic session has seen into a position.
func (s *Session) settleSeen(ctx context.Context) {
	if s.seenPrimary {
		at, err := s.db.primary.present(ctx)
		if err != nil {
			s.foreign = true
			return
		}
		s.carried, s.seenPrimary = later(s.carried, at), false
	}
	if s.seen.server == nil {
		return
	}
	if at, ok := s.seen.position(ctx); ok {
		s.carried, s.seen = later(s.carried, at), seen{}
	} else {
		s.foreign = true
	}
}

// position returns a position that is not before what was seen. It is not there
// when the server is gone.
func (w seen) position(ctx context.Context) (Position, bool) {
	newest := w.server.newest.Load()
	if newest.asked.After(w.until) {
		return newest.at, true
	}
	found, at, err := w.host.ask(ctx)
	if err != nil || found != w.server {
		return Position{}, false
	}
	return at.at, true
}

// Pin sends all further reads to the primary.
func (s *Session) Pin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinTo(Pinned)
}

func (s *Session) pinTo(reason Reason) {
	if !s.pinned {
		s.pinned, s.pin = true, reason
	}
}

// met adds a position that this session wrote.
func (s *Session) metOwn(at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = later(s.wrote, at)
}

// lost notes a commit of which it is not known whether, and where, it is.
func (s *Session) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foreign = true
}

func (s *Session) chose(choice Choice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.choices) == rememberedChoices {
		s.choices = slices.Delete(s.choices, 0, 1)
	}
	s.choices = append(s.choices, choice)
}

// Choices returns the last 32 choices of the session.
func (s *Session) Choices() []Choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.choices)
}

// Explain says in words where the session's last statements went, and why: a line
// for each.
func (s *Session) Explain() string {
	var text strings.Builder
	for _, choice := range s.Choices() {
		text.WriteString(choice.String())
		text.WriteByte('\n')
	}
	return text.String()
}
