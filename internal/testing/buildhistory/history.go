// Package buildhistory records what runners were told of builds, and what was asked of
// these, and checks that it could be so: that at each moment a build had one live attempt at
// most, and that one only was heard. The checker is porcupine: of calls at the same time
// it looks for an order that explains all answers.
package buildhistory

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Outcome is how a call ended.
type Outcome string

// The outcomes. A call whose answer was lost may have its effect at any later time, or
// never.
const (
	Accepted Outcome = "accepted"
	Refused  Outcome = "refused"
	Unknown  Outcome = "unknown"
)

// Limits are those of the coordinator.
type Limits struct {
	// StartWithin is after how long without a sign of life an attempt may be given to
	// another, and SilentAfter after how long it may be ended.
	StartWithin, SilentAfter time.Duration
}

// History is what has happened to builds.
//
// mu guards the rest.
type History struct {
	began time.Time

	mu     sync.Mutex
	builds map[int64][]porcupine.Operation
	jumps  []porcupine.Operation
}

// New returns an empty history.
func New() *History {
	return &History{began: time.Now(), builds: make(map[int64][]porcupine.Operation)}
}

// Picked adds that a runner has got a build with a token, when it had asked at a time.
func (h *History) Picked(asked time.Time, build int64, token string) {
	h.add(asked, build, step{what: picked, token: token, outcome: Accepted})
}

// Said adds what became of a call of an attempt: a sign of life, a piece of its log, or
// a file; or of that which ends it. Of one that was refused an earlier try may have been
// taken in.
func (h *History) Said(asked time.Time, build int64, token string, end bool, outcome Outcome) {
	what := said
	if end {
		what = finished
	}
	h.add(asked, build, step{what: what, token: token, outcome: outcome})
	if outcome == Refused {
		h.add(asked, build, step{what: what, token: token, outcome: Unknown})
	}
}

// Retried adds what became of a retry of a build.
func (h *History) Retried(asked time.Time, build int64, outcome Outcome) {
	h.add(asked, build, step{what: retried, outcome: outcome})
}

// Canceled adds what became of the cancellation of a build; at once: it was canceled then,
// and not canceling.
func (h *History) Canceled(asked time.Time, build int64, atOnce bool, outcome Outcome) {
	what := canceling
	if atOnce || outcome == Unknown {
		what = canceled
	}
	h.add(asked, build, step{what: what, outcome: outcome})
}

// Jumped adds that the database was replaced since a time by one with another clock, so
// that all deadlines may be over; and which may lack the last of what had happened.
func (h *History) Jumped(since time.Time, lossy bool) {
	what := jumped
	if lossy {
		what = rewound
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jumps = append(h.jumps, h.operation(since, step{what: what, outcome: Accepted}))
}

// Len is how many builds there were, and how often they were picked.
func (h *History) Len() (builds, picks int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, all := range h.builds {
		for _, o := range all {
			if s, ok := o.Input.(step); ok && s.what == picked {
				picks++
			}
		}
	}
	return len(h.builds), picks
}

func (h *History) add(asked time.Time, build int64, s step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.builds[build] = append(h.builds[build], h.operation(asked, s))
}

func (h *History) operation(asked time.Time, s step) porcupine.Operation {
	s.asked, s.answered = asked.Sub(h.began), time.Since(h.began)
	o := porcupine.Operation{Input: s, Call: int64(s.asked), Return: int64(s.answered)}
	if s.outcome == Unknown {
		o.Return = math.MaxInt64
	}
	return o
}

// checkWithin is how long the checker may take for one build.
const checkWithin = 20 * time.Second

// Check returns the builds that have a history which no order explains, each with it.
func (h *History) Check(l Limits) (wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	model := l.model()
	for build, all := range h.builds {
		all = slices.Concat(all, h.jumps)
		for i := range all {
			all[i].ClientId = i
		}
		if result := porcupine.CheckOperationsTimeout(model, all, checkWithin); result != porcupine.Ok {
			wrong = append(wrong, fmt.Sprintf("build %d: %s:\n%s", build, strings.ToLower(string(result)), describe(all)))
		}
	}
	return wrong
}

// describe lists operations in the order of their answers.
func describe(all []porcupine.Operation) string {
	all = slices.SortedFunc(slices.Values(all), func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	var lines []string
	for _, o := range all {
		lines = append(lines, fmt.Sprint("    ", o.Input))
	}
	return strings.Join(lines, "\n")
}
