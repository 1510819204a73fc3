package buildhistory

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// what a step does.
type what string

const (
	picked    what = "picked"
	said      what = "said"
	finished  what = "finished"
	retried   what = "retried"
	canceled  what = "canceled"
	canceling what = "canceling"
	jumped    what = "the database was replaced"
	rewound   what = "the database was replaced by an older one"
)

// step is one call with its answer.
type step struct {
	what            what
	token           string
	outcome         Outcome
	asked, answered time.Duration
}

// String shows the end of the token.
func (s step) String() string {
	return fmt.Sprintf("%9.3f to %9.3f s  %s %.8s %s", s.asked.Seconds(), s.answered.Seconds(), s.what, s.token, s.outcome)
}

// phase of a build, as far as it is seen from outside: one that waits for others, or was
// skipped, is queued, since no runner can tell.
type phase string

const (
	queued   phase = "queued"
	assigned phase = "assigned" // nothing was heard of the attempt
	running  phase = "running"
	ended    phase = "ended"
)

// moment is what a build is: in a phase, with the token of its newest attempt, which was
// last heard of at a time.
type moment struct {
	phase phase
	token string
	heard time.Duration
}

// state is a build with what it was before, which it is again when commits are lost.
type state struct {
	moment
	past []moment
}

const longAgo = time.Duration(math.MinInt64 / 2)

// model is a build queue as it is promised.
func (l Limits) model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{moment: moment{phase: queued}}} },
		Step: func(before, input, _ any) (after []any) {
			b, ok := before.(state)
			s, also := input.(step)
			if !ok || !also {
				return nil
			}
			for _, next := range l.next(b, s) {
				after = append(after, next)
			}
			return after
		},
		Equal: func(a, b any) bool {
			x, ok := a.(state)
			y, also := b.(state)
			return ok && also && x.moment == y.moment && slices.Equal(x.past, y.past)
		},
	}
	return m.ToModel()
}

// next are the states that a build may be in after a step; none: it cannot be.
func (l Limits) next(b state, s step) []state {
	switch {
	case s.what == jumped || s.what == rewound:
		return b.replaced(s.what == rewound)
	case s.outcome == Refused:
		if l.mayRefuse(b.moment, s) {
			return []state{b}
		}
		return nil
	}
	var after []state
	if m, may := l.accept(b.moment, s); may {
		after = append(after, b.become(m))
	}
	if s.outcome == Unknown {
		after = append(after, b)
	}
	return after
}

// accept is what a build becomes by a step that was accepted.
func (l Limits) accept(m moment, s step) (moment, bool) {
	overdue := m.phase == assigned && s.answered-m.heard >= l.StartWithin
	silent := m.phase == running && s.answered-m.heard >= l.SilentAfter
	switch s.what {
	case picked:
		return moment{assigned, s.token, s.asked}, m.phase == queued || overdue
	case said, finished:
		heard := m.phase != queued && m.token == s.token
		if s.what == finished || m.phase == ended {
			return moment{ended, s.token, 0}, heard
		}
		return moment{running, s.token, s.asked}, heard
	case retried:
		return moment{phase: queued}, m.phase == ended || m.phase == queued || silent
	case canceled:
		return moment{ended, m.token, 0}, m.phase == queued || m.phase == assigned || s.outcome == Unknown
	case canceling:
		return m, m.phase == assigned || m.phase == running
	default:
		return m, false
	}
}

// mayRefuse tells whether a step may be refused: of an attempt when it is not the newest,
// or may not be any more. People are told no for many reasons.
func (l Limits) mayRefuse(m moment, s step) bool {
	if s.what != said && s.what != finished {
		return true
	}
	return m.phase == queued || m.token != s.token || (m.phase == assigned && s.answered-m.heard >= l.StartWithin)
}

// become is the state with another moment, and what it was as its past.
func (b state) become(m moment) state {
	if m.phase == b.phase && m.token == b.token {
		return state{m, b.past}
	}
	return state{m, append(slices.Clip(b.past), b.moment)}
}

// replaced are the states in another database, where nobody was heard lately.
func (b state) replaced(lossy bool) (after []state) {
	moments := append(slices.Clip(b.past), b.moment)
	for i, m := range moments {
		if i < len(moments)-1 && !lossy {
			continue
		}
		m.heard = longAgo
		after = append(after, state{m, moments[:i:i]})
	}
	return after
}
