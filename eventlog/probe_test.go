package eventlog

import (
	"errors"
	"testing"

	"github.com/google/uuid"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	var (
		timeline1, timeline2, other = uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
		nonce, toNonce, alien       = uuid.UUID{11}, uuid.UUID{12}, uuid.UUID{13}
	)
	// The reader has come to tick 50 of timeline 2 of system 7. In a step, it goes
	// to tick 60.
	outside := Position{System: 7, Timeline: Timeline{2, timeline2}, Tick: 50, Nonce: nonce}
	inside := outside
	inside.ToTick, inside.ToNonce, inside.Page = 60, toNonce, 1000
	crossing := inside // tick 50 is of timeline 1, tick 60 of timeline 2
	first := Position{System: 7, Timeline: Timeline{1, timeline1}, Tick: 50, Nonce: nonce}

	// The source shows all of it, and goes on to tick 80.
	shown := func(change func(l *probe)) probe {
		l := probe{newestTimeline: 2, system: 7, server: 7, newestTick: 80, oldestTick: 10, myTimelineID: &timeline2, nonce: &nonce, targetNonce: &toNonce}
		if change != nil {
			change(&l)
		}
		return l
	}
	tick := func(id int64) *int64 { return &id }

	tests := []struct {
		name   string
		source probe
		p      Position
		want   error
	}{
		{"shown", shown(nil), outside, nil},
		{"shown in a step", shown(nil), inside, nil},
		{"shown as the newest tick", shown(func(l *probe) { l.newestTick = 50 }), outside, nil},
		{"shown as the oldest tick", shown(func(l *probe) { l.oldestTick = 50 }), outside, nil},
		{"a newer timeline began above it", shown(func(l *probe) { l.newestTimeline, l.nextBeganTick = 3, tick(51) }), outside, nil},
		{"a newer timeline began above the step", shown(func(l *probe) { l.newestTimeline, l.nextBeganTick = 3, tick(61) }), inside, nil},
		{"the step crosses into the position's timeline", shown(nil), crossing, nil},

		{"older timeline only", shown(func(l *probe) { l.newestTimeline, l.newestTick, l.myTimelineID = 1, 80, nil }), outside, ErrLate},
		{"older timeline, which has issued the tick itself", shown(func(l *probe) { l.newestTimeline, l.myTimelineID, l.nonce = 1, nil, &alien }), outside, ErrLate},
		{"lower newest tick", shown(func(l *probe) { l.newestTick, l.nonce = 49, nil }), outside, ErrLate},
		{"newest tick inside the step", shown(func(l *probe) { l.newestTick, l.targetNonce = 59, nil }), inside, ErrLate},

		{"this ordinal is another timeline", shown(func(l *probe) { l.myTimelineID = &other }), outside, ErrLost},
		{"this ordinal is another timeline, with less ticks", shown(func(l *probe) { l.myTimelineID, l.newestTick, l.nonce = &other, 40, nil }), outside, ErrLost},
		{"a newer timeline began at it", shown(func(l *probe) { l.newestTimeline, l.nextBeganTick, l.nonce = 3, tick(50), &alien }), outside, ErrLost},
		{"a newer timeline began below it", shown(func(l *probe) { l.newestTimeline, l.nextBeganTick, l.nonce = 3, tick(41), &alien }), outside, ErrLost},
		{"a newer timeline began below it, with less ticks", shown(func(l *probe) { l.newestTimeline, l.nextBeganTick, l.newestTick, l.nonce = 3, tick(41), 45, nil }), outside, ErrLost},
		{"a newer timeline began inside the step", shown(func(l *probe) { l.newestTimeline, l.nextBeganTick, l.targetNonce = 3, tick(55), &alien }), inside, ErrLost},
		{"another nonce", shown(func(l *probe) { l.nonce = &alien }), outside, ErrLost},
		{"another nonce at the end of the step", shown(func(l *probe) { l.targetNonce = &alien }), inside, ErrLost},
		{"no such tick between others", shown(func(l *probe) { l.nonce = nil }), outside, ErrLost},
		{"first timeline, replaced by a second below", shown(func(l *probe) { l.myTimelineID, l.nextBeganTick, l.nonce = &timeline1, tick(30), &alien }), first, ErrLost},

		{"pruned", shown(func(l *probe) { l.oldestTick, l.nonce = 51, nil }), outside, ErrPruned},
		{"pruned in a step", shown(func(l *probe) { l.oldestTick, l.nonce = 51, nil }), inside, ErrPruned},

		{"another system", shown(func(l *probe) { l.system, l.server = 8, 8 }), outside, ErrForeign},
		{"another system with a newer timeline", shown(func(l *probe) { l.system, l.server, l.newestTimeline, l.nextBeganTick = 8, 8, 3, tick(81) }), outside, ErrForeign},
		{"restored elsewhere, no tick taken yet", shown(func(l *probe) { l.server = 8 }), outside, ErrForeign},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.source.check(test.p); !errors.Is(got, test.want) {
				t.Errorf("check: %v, want %v", got, test.want)
			}
		})
	}
}
