package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// shown is what the host that is followed shows of the log, at one time.
type shown struct {
	Nonce    uuid.UUID // of the newest tick; zero: no tick was taken yet
	Timeline *int32
	Tick     *int64
	Standby  bool
	Received *int64 // bytes of the WAL; nil: not known
	Replayed *int64
}

func readSource(ctx context.Context, source *pgxpool.Pool) (s shown, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var nonce *uuid.UUID
	err = source.QueryRow(ctx, workerSQL.Sight).Scan(&nonce, &s.Timeline, &s.Tick, &s.Standby, &s.Received, &s.Replayed)
	if nonce != nil {
		s.Nonce = *nonce
	}
	return s, err
}

// mostMarks bounds what is remembered of a standby that stands.
const mostMarks = 1000

// sight is what was seen of the log that is followed, by this process's own clock:
// those of the source's hosts may be apart.
//
// mu guards what follows it.
type sight struct {
	mu       sync.Mutex
	on       bool // a log elsewhere is followed
	newest   shown
	moved    time.Time // when its newest tick was seen for the first time
	answered time.Time
	known    bool // it has answered this process, since when newest is true
	// marks are how far the host had received the WAL, and when, as long as it does not
	// show that, the oldest first.
	marks []mark
}

type mark struct {
	received int64
	at       time.Time
}

// observe takes what the source has answered, or that it has not, and returns why the
// log is taken not to move; "" if it does.
func (s *sight) observe(now shown, err error, at time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered.IsZero() {
		s.moved, s.answered = at, at
	}
	if err == nil {
		s.answered = at
		if now.Nonce != s.newest.Nonce {
			s.moved = at
		}
		s.newest, s.known = now, true
		s.measure(at)
	}
	return standing(at.Sub(s.moved), err)
}

// measure forgets the marks that the host has passed, and sets another one. A host that has
// received less than before is another host.
func (s *sight) measure(at time.Time) {
	if !s.newest.Standby || s.newest.Received == nil || s.newest.Replayed == nil {
		s.marks = nil
		return
	}
	received, replayed := *s.newest.Received, *s.newest.Replayed
	s.marks = slices.DeleteFunc(s.marks, func(m mark) bool { return m.received <= replayed || m.received > received })
	if received <= replayed || len(s.marks) > 0 && s.marks[len(s.marks)-1].received == received {
		return
	}
	if len(s.marks) == mostMarks { // each other one tells as much
		for i := range mostMarks / 2 {
			s.marks[i] = s.marks[2*i]
		}
		s.marks = s.marks[:mostMarks/2]
	}
	s.marks = append(s.marks, mark{received, at})
}

// ages are what a sight is in home's row of this worker: ages, which need no clock to agree
// with. All are nil where no log elsewhere is followed.
type ages struct {
	Timeline                *int32
	Tick                    *int64
	Moved, Answered, Behind *time.Duration
}

func (s *sight) read(at time.Time) (a ages) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on || s.answered.IsZero() {
		return a
	}
	a = ages{Timeline: s.newest.Timeline, Tick: s.newest.Tick, Moved: new(at.Sub(s.moved)), Answered: new(at.Sub(s.answered))}
	switch {
	case !s.known: // a worker that was started while the source is away knows nothing of it
	case !s.newest.Standby || s.newest.Received != nil && len(s.marks) == 0:
		a.Behind = new(time.Duration(0))
	case len(s.marks) > 0:
		a.Behind = new(at.Sub(s.marks[0].at))
	}
	return a
}
