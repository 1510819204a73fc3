package runner

import (
	"sync"
	"time"
)

// siblings tells for how long a request may be held. A runner process with fewer requests
// at a time than tokens asks for one after the other: while one is held, the others do
// not ask. Such a process shows two of its runners and never two requests at once.
//
// mu guards everything.
type siblings struct {
	mu      sync.Mutex
	systems map[string]*system
	walked  time.Time // see forget
}

// system is one runner process.
type system struct {
	inFlight map[int64]int // requests, by runner
	last     int64         // the runner that asked last
	row      int           // how often it has in a row
	// together is when requests of two runners were last there at once.
	together, seen time.Time
}

const (
	// alone is how often a runner has to ask in a row to be the only one of its process.
	alone         = 3
	togetherCount = 10 * time.Minute
	mostSystems   = 50_000
	walkEvery     = time.Minute
)

func newSiblings() *siblings { return &siblings{systems: make(map[string]*system)} }

// begin notes a request, and returns whether it may be held for long; end notes its end.
func (s *siblings) begin(name string, runner int64) (long bool, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	y := s.systems[name]
	if y == nil {
		s.forget(now)
		if len(s.systems) >= mostSystems {
			return false, func() {} // nothing is known of it, so that nobody may starve by it
		}
		y = &system{inFlight: make(map[int64]int)}
		s.systems[name] = y
	}
	y.seen = now
	if len(y.inFlight) > 0 && y.inFlight[runner] == 0 {
		y.together = now
	}
	y.inFlight[runner]++
	if y.last == runner {
		y.row++
	} else {
		y.last, y.row = runner, 1
	}
	long = y.row >= alone || (!y.together.IsZero() && now.Sub(y.together) < togetherCount)
	return long, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		y.inFlight[runner]--
		if y.inFlight[runner] == 0 {
			delete(y.inFlight, runner)
		}
	}
}

// forget makes room, once in a while: all of them are walked for that.
func (s *siblings) forget(now time.Time) {
	if len(s.systems) < mostSystems || now.Sub(s.walked) < walkEvery {
		return
	}
	s.walked = now
	for name, y := range s.systems {
		if len(y.inFlight) == 0 && now.Sub(y.seen) > togetherCount {
			delete(s.systems, name)
		}
	}
}
