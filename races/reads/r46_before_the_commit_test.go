package reads

import (
	"testing"

	"casq/replica"
)

// TestR46BeforeTheCommit: a position that is taken inside the open transaction lies
// before its commit. A standby may have the one and not the other.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR46BeforeTheCommit(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	db := r.open(t, replica.Options{Wait: -1})
	s := db.Session()
	tx, err := s.Write().Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), upsert, "a", "new")
	must(t, err)
	var inside lsn
	must(t, tx.QueryRow(t.Context(), "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").Scan(&inside))
	r.Exec(t, upsert, "other", "so that the log is sent")
	r.CatchUp(t)
	r.Pause(t)
	must(t, tx.Commit(t.Context()))

	t.Run("twin/inside the transaction", func(t *testing.T) {
		if r.replayed(t, 0) < inside {
			t.Fatal("the standby has not replayed that position")
		}
		if got := body(t, r.standby[0], "a"); got != "" {
			t.Errorf("the standby shows %q", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		wantPrimary(t, wantBody(t, s, "a", "new"))
		next := db.Session()
		next.Carry(s.Token(t.Context()))
		wantPrimary(t, wantBody(t, next, "a", "new"))
	})
}
