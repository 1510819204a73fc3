package races

import (
	"slices"
	"testing"
	"time"
)

// TestR85LateCommit: a transaction appends an event and stays open for hours
// while others commit. Its event has the lowest id of all and becomes visible
// last. Whoever remembers the highest id loses it; whoever waits for the oldest
// open transaction applies nothing for hours. It has to be applied when it
// commits, and nobody has to have waited for it.
func TestR85LateCommit(t *testing.T) {
	t.Parallel()
	t.Run("twin/highest id", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		twin := &idPoller{db: s.pool}
		var got []string
		r85(t, s, func(...string) { got = append(got, twin.poll(t)...) })
		wantResources(t, got, "other", "other", "other") // and never "slow"
	})
	t.Run("twin/oldest open transaction", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		waited := 0
		r85(t, s, func(want ...string) {
			got := resourcesOf(t, s.pool, `SELECT resource_id FROM casq.events
				WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, id`)
			if !slices.Contains(want, "slow") && len(got) == 0 {
				waited++
			}
		})
		if waited != 3 {
			t.Errorf("the twin applied nothing %d times, want 3: as long as the transaction was open", waited)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		s.tick(t)
		follow(t, s.config(t))
		r85(t, s, func(want ...string) { s.wantApplied(t, want...) })
	})
}

// r85 plays the race. look lets the follower look, and tells all that must have
// been applied by then.
func r85(t *testing.T, s *logSite, look func(want ...string)) {
	t.Helper()
	slow := s.begin(t, "slow")
	want := []string{}
	for range 3 {
		s.write(t, "other")
		want = append(want, "other")
		s.tick(t)
		look(want...)
		r85Hours(t, s)
	}
	s.commit(t, slow)
	s.tick(t)
	look(append(want, "slow")...)
}

// r85Hours lets five hours pass for the log, with a tick each hour.
func r85Hours(t *testing.T, s *logSite) {
	t.Helper()
	for range 5 {
		_, err := s.pool.Exec(t.Context(), "UPDATE casq.ticks SET taken_at = taken_at - $1::interval", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var tick *int64
		if err := s.pool.QueryRow(t.Context(), "SELECT casq.tick()").Scan(&tick); err != nil || tick == nil {
			t.Fatalf("no tick after an hour, %v", err)
		}
	}
}
