package reads

import (
	"testing"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
)

// TestR49AsynchronousCommit: with synchronous_commit = off, pg_current_wal_lsn() is
// where the log has been written to, which lies before a commit that has returned.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR49AsynchronousCommit(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t, testdb.Settings(map[string]string{"wal_writer_delay": "10s", "synchronous_commit": "off"}))
	r.Exec(t, "BEGIN; SET LOCAL synchronous_commit = on; INSERT INTO documents VALUES ('a', 'old'); COMMIT")
	r.CatchUp(t)
	db := r.open(t, replica.Options{Wait: -1})

	t.Run("twin/pg_current_wal_lsn", func(t *testing.T) {
		r.Exec(t, upsert, "a", "new")
		at := r.position(t, "pg_current_wal_lsn()")
		replicatest.Until(t, "the standby has that position", func() error { return before(r.replayed(t, 0), at) })
		if got := body(t, r.standby[0], "a"); got == "new" {
			t.Error("the standby has what lies behind the position")
		}
	})
	t.Run("ours", func(t *testing.T) {
		for _, text := range []string{"one", "two", "three"} {
			s := db.Session()
			sessionWrite(t, s, "a", text)
			wantBody(t, s, "a", text)
			// Another session, which knows nothing of that position.
			s = db.Session()
			tx, err := s.Write().Begin(t.Context())
			must(t, err)
			_, err = tx.Exec(t.Context(), upsert, "a", text+" in a transaction")
			must(t, err)
			must(t, tx.Commit(t.Context()))
			wantBody(t, s, "a", text+" in a transaction")
		}
	})
}
