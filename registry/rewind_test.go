package registry_test

import (
	"fmt"
	"testing"

	"casq/eventlog"
)

func (b *testBundle) wantRequest(t *testing.T, want string) {
	t.Helper()
	var got string
	err := b.Pool.QueryRow(t.Context(), `SELECT format('%s beyond %s/%s at %s/%s', reason, beyond_timeline, beyond_tick, at_timeline, at_tick)
		FROM casq.reconcile_runs ORDER BY id DESC LIMIT 1`).Scan(&got)
	if err != nil || got != want {
		t.Errorf("asked for %q, want %q; %v", got, want, err)
	}
}

func TestWhatIsAskedForAfterALoss(t *testing.T) {
	t.Parallel()
	newest := at(3, 70)
	lost := eventlog.Rewind{Cause: fmt.Errorf("%w: so", eventlog.ErrLost), From: at(2, 90), To: at(2, 60), Newest: newest}
	over := eventlog.Rewind{From: at(2, 90), To: newest, Newest: newest, Everything: true}
	pruned, asked := over, over
	pruned.Cause = eventlog.ErrPruned
	tests := []struct {
		name  string
		floor int64 // tick of timeline 2 up to which tombstones are gone
		w     eventlog.Rewind
		want  string
	}{
		{"lost", 0, lost, "lost beyond 2/60 at 3/70"},
		{"lost, tombstones purged up to it", 60, lost, "lost beyond 2/60 at 3/70"},
		{"lost, tombstones purged beyond it", 61, lost, "lost beyond / at 3/70"},
		{"pruned", 0, pruned, "pruned beyond / at 3/70"},
		{"asked", 0, asked, "asked beyond / at 3/70"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Exec(t, "INSERT INTO casq.registry_floors (kind, timeline, tick) VALUES ($1, 2, $2)", kind, test.floor)
			b.Rewound(t, test.w)
			b.wantRequest(t, test.want)
		})
	}
}

// A page of the source that was read before the loss may be applied after it: what
// was purged must still be known to it. Where the numbers of timelines begin again,
// floors would refuse everything.
func TestFloorsOutliveALoss(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		incomparable bool
		want         string
	}{"timelines go on": {false, "2/61"}, "timelines begin again": {true, "0/0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Exec(t, "INSERT INTO casq.registry_floors (kind, timeline, tick) VALUES ($1, 2, 61)", kind)
			b.Rewound(t, eventlog.Rewind{
				Cause: eventlog.ErrLost, From: at(2, 90), To: at(2, 60), Newest: at(3, 70),
				Everything: test.incomparable, Incomparable: test.incomparable,
			})
			var got string
			err := b.Pool.QueryRow(t.Context(), "SELECT format('%s/%s', timeline, tick) FROM casq.registry_floors").Scan(&got)
			if err != nil || got != test.want {
				t.Errorf("the floor is %s, want %s; %v", got, test.want, err)
			}
		})
	}
}

// The source's timeline 2 is another one than the timeline 2 that was read, which had a
// tombstone and a live resource; both were told of by events with higher ids than
// those that come now.
func TestEventsOfAnIncomparableTimelineCount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, `INSERT INTO casq.reconcile_runs (reason, at_timeline, at_tick) VALUES ('lost', 2, 900)`)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, deleted_at, version) VALUES
		($1, 'old', 1, 500, 90, '{"n": 0}', NULL, 101),
		($1, 'live', 2, 500, 90, '{"n": 0}', NULL, 102),
		($1, 'another', 2, 505, 90, '{"n": 1}', NULL, 105),
		($1, 'gone', 2, 501, 90, '{"n": 0}', now(), 103),
		($1, 'later', 3, 502, 90, '{"n": 0}', now(), 104)`, kind)
	b.Exec(t, "SELECT setval('casq.registry_version', 1000)")
	b.Rewound(t, eventlog.Rewind{
		Cause: eventlog.ErrLost, From: at(2, 90), To: at(2, 20), Newest: at(2, 20), Everything: true, Incomparable: true,
	})
	b.wantRequest(t, "lost beyond / at 2/20")
	var waiting int
	if err := b.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.reconcile_runs WHERE at_tick > 20").Scan(&waiting); err != nil || waiting > 0 {
		t.Errorf("%d requests wait for a tick that no host shows; %v", waiting, err)
	}
	b.ApplyBatch(t, eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 2}, Tick: 21, Events: []eventlog.Event{
		event(10, eventlog.Created, "gone", `{"n": 1}`), event(11, eventlog.Created, "later", `{"n": 1}`),
		event(12, eventlog.Deleted, "live", `{}`), event(13, eventlog.Updated, "old", `{"n": 1}`),
		event(14, eventlog.Created, "another", `{"n": 1}`),
	}})
	if got := b.Row(t, "another").Incarnation; got != 2 {
		t.Errorf("what was created in the other timeline has incarnation %d", got)
	}
	for key, deleted := range map[string]bool{"old": false, "live": true, "gone": false, "later": false} {
		r := b.Row(t, key)
		if r.Deleted != deleted || r.Timeline != 2 || r.Tick != 21 || !deleted && r.Payload != `{"n": 1}` {
			t.Errorf("%s: %+v", key, r)
		}
	}
}
