package eventlog

import (
	"errors"
	"testing"

	"github.com/google/uuid"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	var (
		life1, life2, other = uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
		mark, toMark, alien = uuid.UUID{11}, uuid.UUID{12}, uuid.UUID{13}
	)
	// The reader has come to tick 50 of life 2 of system 7. In a step, it goes
	// to tick 60.
	outside := Position{System: 7, Life: Life{2, life2}, Tick: 50, Mark: mark}
	inside := outside
	inside.ToTick, inside.ToMark, inside.Page = 60, toMark, 1000
	crossing := inside // tick 50 is of life 1, tick 60 of life 2
	first := Position{System: 7, Life: Life{1, life1}, Tick: 50, Mark: mark}

	// The source shows all of it, and goes on to tick 80.
	shown := func(change func(l *look)) look {
		l := look{newestLife: 2, system: 7, server: 7, newestTick: 80, oldestTick: 10, myLifeID: &life2, mark: &mark, targetMark: &toMark}
		if change != nil {
			change(&l)
		}
		return l
	}
	tick := func(id int64) *int64 { return &id }

	tests := []struct {
		name   string
		source look
		p      Position
		want   error
	}{
		{"shown", shown(nil), outside, nil},
		{"shown in a step", shown(nil), inside, nil},
		{"shown as the newest tick", shown(func(l *look) { l.newestTick = 50 }), outside, nil},
		{"shown as the oldest tick", shown(func(l *look) { l.oldestTick = 50 }), outside, nil},
		{"a newer life began above it", shown(func(l *look) { l.newestLife, l.nextBeganTick = 3, tick(51) }), outside, nil},
		{"a newer life began above the step", shown(func(l *look) { l.newestLife, l.nextBeganTick = 3, tick(61) }), inside, nil},
		{"the step crosses into the position's life", shown(nil), crossing, nil},

		{"older life only", shown(func(l *look) { l.newestLife, l.newestTick, l.myLifeID = 1, 80, nil }), outside, ErrLate},
		{"older life, which has issued the tick itself", shown(func(l *look) { l.newestLife, l.myLifeID, l.mark = 1, nil, &alien }), outside, ErrLate},
		{"lower newest tick", shown(func(l *look) { l.newestTick, l.mark = 49, nil }), outside, ErrLate},
		{"newest tick inside the step", shown(func(l *look) { l.newestTick, l.targetMark = 59, nil }), inside, ErrLate},

		{"this ordinal is another life", shown(func(l *look) { l.myLifeID = &other }), outside, ErrLost},
		{"this ordinal is another life, with less ticks", shown(func(l *look) { l.myLifeID, l.newestTick, l.mark = &other, 40, nil }), outside, ErrLost},
		{"a newer life began at it", shown(func(l *look) { l.newestLife, l.nextBeganTick, l.mark = 3, tick(50), &alien }), outside, ErrLost},
		{"a newer life began below it", shown(func(l *look) { l.newestLife, l.nextBeganTick, l.mark = 3, tick(41), &alien }), outside, ErrLost},
		{"a newer life began below it, with less ticks", shown(func(l *look) { l.newestLife, l.nextBeganTick, l.newestTick, l.mark = 3, tick(41), 45, nil }), outside, ErrLost},
		{"a newer life began inside the step", shown(func(l *look) { l.newestLife, l.nextBeganTick, l.targetMark = 3, tick(55), &alien }), inside, ErrLost},
		{"another mark", shown(func(l *look) { l.mark = &alien }), outside, ErrLost},
		{"another mark at the end of the step", shown(func(l *look) { l.targetMark = &alien }), inside, ErrLost},
		{"no such tick between others", shown(func(l *look) { l.mark = nil }), outside, ErrLost},
		{"first life, replaced by a second below", shown(func(l *look) { l.myLifeID, l.nextBeganTick, l.mark = &life1, tick(30), &alien }), first, ErrLost},

		{"pruned", shown(func(l *look) { l.oldestTick, l.mark = 51, nil }), outside, ErrPruned},
		{"pruned in a step", shown(func(l *look) { l.oldestTick, l.mark = 51, nil }), inside, ErrPruned},

		{"another system", shown(func(l *look) { l.system, l.server = 8, 8 }), outside, ErrForeign},
		{"another system with a newer life", shown(func(l *look) { l.system, l.server, l.newestLife, l.nextBeganTick = 8, 8, 3, tick(81) }), outside, ErrForeign},
		{"restored elsewhere, no tick taken yet", shown(func(l *look) { l.server = 8 }), outside, ErrForeign},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.source.judge(test.p); !errors.Is(got, test.want) {
				t.Errorf("judged %v, want %v", got, test.want)
			}
		})
	}
}
