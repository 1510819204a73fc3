package process

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestTracker(t *testing.T) {
	t.Parallel()
	a, b := uuid.UUID{1}, uuid.UUID{2}
	type look struct {
		at    int // seconds
		beats []beatOf
		dead  string // ids that are found dead
	}
	both := func(beatA, beatB int64) []beatOf { return []beatOf{{a, beatA}, {b, beatB}} }
	const none = "[]"
	dead := func(ids ...uuid.UUID) string { return fmt.Sprint(ids) }
	for name, looks := range map[string][]look{
		"all beat": {
			{0, both(1, 1), none}, {10, both(2, 2), none}, {20, both(3, 3), none}, {30, both(4, 4), none}, {40, both(5, 5), none},
		},
		"one stands still": {
			{0, both(1, 1), none}, {10, both(1, 2), none}, {20, both(1, 3), none},
			{29, both(1, 4), none}, {30, both(1, 5), dead(a)}, {40, both(1, 6), dead(a)},
		},
		"both stand still": {
			{0, both(1, 1), none}, {10, both(1, 1), none}, {20, both(1, 1), none}, {30, both(1, 1), dead(a, b)},
		},
		"it beats at the last moment": {
			{0, both(1, 1), none}, {10, both(1, 1), none}, {20, both(1, 2), none}, {30, both(2, 3), none},
			{40, both(2, 4), none}, {50, both(2, 5), none}, {60, both(2, 6), dead(a)},
		},
		"a beat that goes backwards is a beat": {
			{0, both(5, 1), none}, {10, both(5, 2), none}, {20, both(4, 3), none}, {30, both(4, 4), none}, {40, both(4, 5), none}, {50, both(4, 6), dead(a)},
		},
		"an outage gives everybody his time again": {
			{0, both(1, 1), none}, {10, both(1, 1), none}, {20, both(1, 1), none},
			{36, both(1, 1), none}, // 16 s after the last look
			{46, both(1, 2), none}, {56, both(1, 3), none}, {66, both(1, 4), dead(a)},
		},
		"an outage of hours": {
			{0, both(1, 1), none}, {10000, both(1, 1), none}, {10010, both(1, 1), none}, {10020, both(1, 1), none}, {10030, both(1, 1), dead(a, b)},
		},
		"a newcomer has its whole time": {
			{0, nil, none}, {10, []beatOf{{a, 9}}, none}, {20, []beatOf{{a, 9}}, none}, {30, []beatOf{{a, 9}}, none}, {40, []beatOf{{a, 9}}, dead(a)},
		},
		"one that was gone for a look begins again": {
			{0, []beatOf{{a, 1}}, none}, {10, nil, none}, {20, []beatOf{{a, 1}}, none}, {30, []beatOf{{a, 1}}, none},
			{40, []beatOf{{a, 1}}, none}, {50, []beatOf{{a, 1}}, dead(a)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker := tracker{ttl: 30 * time.Second, gap: 15 * time.Second}
			start := time.Now()
			for _, look := range looks {
				got := []uuid.UUID{}
				for _, d := range tracker.observe(start.Add(time.Duration(look.at)*time.Second), look.beats) {
					got = append(got, d.ID)
				}
				if fmt.Sprint(got) != look.dead {
					t.Fatalf("after %d s: got %v, want %v", look.at, got, look.dead)
				}
			}
		})
	}
}
