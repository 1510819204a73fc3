package reads

import (
	"fmt"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
)

// TestR47Failover: a standby that lacks a write is promoted, and writes on until its
// log is longer than the write's position. It must not be taken for a standby that has
// it; and when it has become the primary, the old position must not send reads there
// for ever.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR47Failover(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	db := r.open(t, replica.Options{Wait: -1})
	// Both are cut off, the first one is promoted, and writes on.
	// The one that is to follow has no more than the one that it will follow.
	for _, i := range []int{1, 0} {
		must(t, r.Cluster.Standbys[i].CutOff(t.Context()))
	}
	need := r.naiveWrite(t, "a", "new")
	s := db.Session()
	must(t, s.Wrote(t.Context()))
	token := s.Token(t.Context())
	must(t, r.Cluster.Standbys[0].Promote(t.Context()))
	for r.replayed(t, 0) < need+1<<20 {
		_, err := r.standby[0].Exec(t.Context(), "INSERT INTO documents SELECT 'on' || random(), repeat('x', 1000) FROM generate_series(1, 100)")
		must(t, err)
	}

	t.Run("twin/LSNs are compared", func(t *testing.T) {
		if got := body(t, r.standby[0], "a"); got != "old" {
			t.Errorf("the promoted one, which is beyond the position, shows %q", got)
		}
	})
	t.Run("ours/two primaries", func(t *testing.T) {
		for range 10 {
			wantPrimary(t, wantBody(t, s, "a", "new"))
			next := db.Session()
			next.Carry(token)
			wantPrimary(t, wantBody(t, next, "a", "new"))
		}
	})
	t.Run("ours/after it", func(t *testing.T) {
		must(t, r.Cluster.Standbys[1].Follow(t.Context(), r.Cluster.Standbys[0]))
		promoted := testdb.Pool(t, r.Cluster.StandbyURL(0))
		after, err := replica.New(t.Context(), promoted, replica.Options{Standbys: replica.URLs(r.URLs(1)...), Wait: -1})
		must(t, err)
		t.Cleanup(after.Close)
		open := func() *replica.Session {
			next := after.Session()
			next.Carry(token)
			return next
		}
		wantBody(t, open(), "a", "old") // The write is lost, for the primary too.
		standbyAgain(t, open, "a", "old")
		next := open()
		_, err = next.Write().Exec(t.Context(), upsert, "a", "newer")
		must(t, err)
		wantBody(t, next, "a", "newer")
		replicatest.Until(t, "the host that follows serves what was written", func() error {
			if choice := wantBody(t, next, "a", "newer"); !choice.Reason.Standby() {
				return fmt.Errorf("chose %s", choice)
			}
			return nil
		})
	})
}
