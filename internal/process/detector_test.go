package process

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestDetector(t *testing.T) {
	t.Parallel()
	a, b := uuid.UUID{1}, uuid.UUID{2}
	type observation struct {
		at    int // seconds
		beats map[uuid.UUID]int64
		dead  string // ids that are found dead
	}
	both := func(beatA, beatB int64) map[uuid.UUID]int64 { return map[uuid.UUID]int64{a: beatA, b: beatB} }
	const none = "[]"
	dead := func(ids ...uuid.UUID) string { return fmt.Sprint(ids) }
	for name, observations := range map[string][]observation{
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
			{36, both(1, 1), none}, // 16 s after the observation before
			{46, both(1, 2), none}, {56, both(1, 3), none}, {66, both(1, 4), dead(a)},
		},
		"an outage of hours": {
			{0, both(1, 1), none}, {10000, both(1, 1), none}, {10010, both(1, 1), none}, {10020, both(1, 1), none}, {10030, both(1, 1), dead(a, b)},
		},
		"a newcomer has its whole time": {
			{0, nil, none}, {10, map[uuid.UUID]int64{a: 9}, none}, {20, map[uuid.UUID]int64{a: 9}, none}, {30, map[uuid.UUID]int64{a: 9}, none}, {40, map[uuid.UUID]int64{a: 9}, dead(a)},
		},
		"one that was gone for an observation begins again": {
			{0, map[uuid.UUID]int64{a: 1}, none}, {10, nil, none}, {20, map[uuid.UUID]int64{a: 1}, none}, {30, map[uuid.UUID]int64{a: 1}, none},
			{40, map[uuid.UUID]int64{a: 1}, none}, {50, map[uuid.UUID]int64{a: 1}, dead(a)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			detector := NewDetector[uuid.UUID, int64](30 * time.Second)
			start := time.Now()
			for _, o := range observations {
				got := []uuid.UUID{}
				now := start.Add(time.Duration(o.at) * time.Second)
				left := detector.Observe(now, now, o.beats)
				for _, id := range []uuid.UUID{a, b} {
					if d, observed := left[id]; observed && d <= 0 {
						got = append(got, id)
					}
				}
				if fmt.Sprint(got) != o.dead {
					t.Fatalf("after %d s: got %v, want %v", o.at, got, o.dead)
				}
			}
		})
	}
}
