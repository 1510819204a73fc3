package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
)

// What is seen of a log is told in ages, by one clock: how far the host that is read is
// behind is since when it had received what it does not show.
func TestSight(t *testing.T) {
	t.Parallel()
	const unknown = -1
	first, second := uuid.New(), uuid.New()
	standby := func(tick uuid.UUID, received, replayed int64) shown {
		return shown{Nonce: tick, Timeline: new(int32(1)), Tick: new(int64(7)), Standby: true, Received: &received, Replayed: &replayed}
	}
	at := time.Now()
	started := sight{on: true}
	started.observe(shown{}, errors.New("refused"), at)
	if got := started.read(at); got.Answered == nil || got.Behind != nil {
		t.Errorf("started while the source is away: answered %v ago, behind by %v; want to know nothing of it", got.Answered, got.Behind)
	}
	s := sight{on: true}
	if got := s.read(at); got.Moved != nil {
		t.Errorf("before anything was seen: %v", got)
	}
	for i, step := range []struct {
		after                   time.Duration
		shown                   shown
		err                     error
		moved, answered, behind time.Duration
	}{
		{0, standby(first, 100, 100), nil, 0, 0, 0},
		{2 * time.Second, standby(first, 200, 100), nil, 2 * time.Second, 0, 0}, // since now
		{2 * time.Second, standby(first, 300, 100), nil, 4 * time.Second, 0, 2 * time.Second},
		{2 * time.Second, shown{}, errors.New("refused"), 6 * time.Second, 2 * time.Second, 4 * time.Second},
		{2 * time.Second, standby(second, 300, 200), nil, 0, 0, 4 * time.Second}, // it shows the first of the two
		{2 * time.Second, standby(second, 300, 300), nil, 2 * time.Second, 0, 0},
		{2 * time.Second, standby(second, 400, 300), nil, 4 * time.Second, 0, 0},
		{2 * time.Second, standby(second, 90, 80), nil, 6 * time.Second, 0, 0}, // another host
		{2 * time.Second, shown{Nonce: second, Standby: true}, nil, 8 * time.Second, 0, unknown},
		{2 * time.Second, shown{Nonce: second}, nil, 10 * time.Second, 0, 0}, // a primary
	} {
		at = at.Add(step.after)
		s.observe(step.shown, step.err, at)
		got := s.read(at)
		if *got.Moved != step.moved || *got.Answered != step.answered {
			t.Errorf("step %d: moved %v and answered %v ago, want %v and %v", i, *got.Moved, *got.Answered, step.moved, step.answered)
		}
		switch {
		case got.Behind == nil && step.behind != unknown:
			t.Errorf("step %d: it is not known how far it is behind, want %v", i, step.behind)
		case got.Behind != nil && *got.Behind != step.behind:
			t.Errorf("step %d: behind by %v, want %v", i, *got.Behind, step.behind)
		}
	}
}

// A standby that stands for long is remembered since then, in bounded memory.
func TestSightIsBounded(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := sight{on: true}
	var at time.Time
	for i := range int64(5 * mostMarks) {
		at = began.Add(time.Duration(i) * time.Second)
		s.observe(shown{Standby: true, Received: new(i + 1), Replayed: new(int64(0))}, nil, at)
	}
	if len(s.marks) > mostMarks || *s.read(at).Behind != at.Sub(began) {
		t.Errorf("%d marks, behind by %v, want %v", len(s.marks), *s.read(at).Behind, at.Sub(began))
	}
}
