package reads

import (
	"context"
	"fmt"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR41LostHost: the standby that a session reads from ends its query, cancels it
// for a conflict with recovery, or dies. Another one takes over only if it has the
// position too; else the primary.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR41LostHost(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t, testdb.Settings(map[string]string{"max_standby_streaming_delay": "0", "hot_standby_feedback": "off"}))
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	r.Pause(t, 1)
	need := r.naiveWrite(t, "a", "new")
	r.CatchUp(t, 0)

	t.Run("twin/the next host of the list", func(t *testing.T) {
		if r.replayed(t, 0) < need {
			t.Fatal("the first host has not got it")
		}
		// It fails, and the list's next one is taken.
		if got := body(t, r.standby[1], "a"); got != "old" {
			t.Errorf("the next host shows %q: it is not stale", got)
		}
	})
	t.Run("ours/a query that is ended", func(t *testing.T) {
		db := r.open(t, replica.Options{Wait: -1})
		blocked := r.block(t, db, func(pid int) {
			_, err := r.standby[0].Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid)
			must(t, err)
		})
		blocked(t, "new")
	})
	t.Run("ours/a conflict with recovery", func(t *testing.T) {
		db := r.open(t, replica.Options{Wait: -1})
		r.Exec(t, "INSERT INTO documents SELECT 'x' || n, '' FROM generate_series(1, 100) AS n")
		r.Exec(t, "VACUUM documents")
		r.CatchUp(t, 0)
		blocked := r.block(t, db, func(int) {
			r.Exec(t, "DELETE FROM documents WHERE id LIKE 'x%'")
			r.Exec(t, "VACUUM documents")
		})
		blocked(t, "new")
	})
	t.Run("ours/it dies", func(t *testing.T) {
		db := r.open(t, replica.Options{Wait: -1})
		s := db.Session()
		must(t, s.Wrote(t.Context()))
		r.CatchUp(t, 0)
		replicatest.Until(t, "the first standby serves", func() error {
			if choice := wantBody(t, s, "a", "new"); !choice.Reason.Standby() {
				return fmt.Errorf("chose %s", choice)
			}
			return nil
		})
		must(t, r.Cluster.Standbys[0].Kill())
		for range 10 {
			wantPrimary(t, wantBody(t, s, "a", "new"))
		}
		r.Resume(t, 1)
		r.CatchUp(t, 1) // The next one has the position, too.
		standbyAgain(t, func() *replica.Session { return s }, "a", "new")
	})
}

// block sends a read that waits for a lock on the first standby, has it disturbed
// there, and returns what awaits its answer.
func (r *replicaSite) block(t *testing.T, db *replica.DB, disturb func(pid int)) func(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	lock, err := r.standby[0].Acquire(ctx)
	must(t, err)
	t.Cleanup(func() { release(lock) })
	_, err = lock.Exec(ctx, "SELECT pg_advisory_lock(41)")
	must(t, err)

	s := db.Session()
	must(t, s.Wrote(ctx))
	r.CatchUp(t, 0)
	replicatest.Until(t, "the first standby is known to have it", func() error {
		if choice := wantBody(t, s, "a", "new"); !choice.Reason.Standby() {
			return fmt.Errorf("chose %s", choice)
		}
		return nil
	})
	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		// The lock is waited for where it is held only: nobody holds it elsewhere.
		a.err = s.Read().QueryRow(ctx, `WITH waited AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(41))
			SELECT d.body FROM waited, documents AS d WHERE d.id = 'a'`).Scan(&a.body)
		answered <- a
	}()
	var pid int
	replicatest.Until(t, "the read waits", func() error {
		return r.standby[0].QueryRow(ctx, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&pid)
	})
	disturb(pid)
	return func(t *testing.T, want string) {
		t.Helper()
		got := <-answered
		choices := s.Choices()
		if got.err != nil || got.body != want || choices[len(choices)-1].Reason.Standby() {
			t.Errorf("the read returned %q, %v, want %q from the primary:\n%s", got.body, got.err, want, s.Explain())
		}
	}
}

func release(conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = conn.Conn().Close(ctx) // Its lock ends with it.
	conn.Release()
}
