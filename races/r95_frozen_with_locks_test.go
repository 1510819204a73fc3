package races

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	casqdb "casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// TestR95FrozenWithLocks: a holder, or a worker that publishes, is stopped by
// SIGSTOP while it holds row locks. They outlive its will: a session that is
// merely idle keeps them until it ends, and the log waits. It has to go on
// within the time that a session may be idle in a transaction.
func TestR95FrozenWithLocks(t *testing.T) {
	t.Parallel()
	t.Run("twin/no idle time-out", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		execute(t, s.pool, "CREATE TABLE resources (resource text PRIMARY KEY); INSERT INTO resources VALUES ('a')")
		frozen, err := s.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer frozen.Rollback(t.Context())
		if _, err := frozen.Exec(t.Context(), "SELECT FROM resources FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		err = pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL lock_timeout = '"+strconv.FormatInt((2*r95Idle).Milliseconds(), 10)+"'")
			if err == nil {
				_, err = tx.Exec(t.Context(), "UPDATE resources SET resource = 'b'")
			}
			return err
		})
		if casqdb.Code(err) != "55P03" {
			t.Errorf("the log went on: %v; it should wait for the lock", err)
		}
	})
	// The lease is long: it is the session's end that lets others on.
	for _, point := range []string{"batch:entered", "batch:applied"} {
		t.Run("ours/holder at "+point, func(t *testing.T) {
			t.Parallel()
			s := newLeaseSite(t)
			s.put(t, "a")
			frozen := s.start(t, holderSpec{Lease: longLease, Idle: r95Idle, FreezeAt: point})
			frozen.AwaitFrozen("frozen")
			began := time.Now()
			cfg := s.leased(t, longLease)
			cfg.Redis = nil
			follow(t, cfg)
			s.wantApplied(t, "a")
			t.Logf("the log went on %v after the holder was frozen", time.Since(began).Round(time.Millisecond))
			frozen.Thaw()
			s.put(t, "b")
			s.wantApplied(t, "a", "b")
		})
	}
	t.Run("ours/publisher", func(t *testing.T) {
		t.Parallel()
		const key = "a/file"
		s := newSite(t)
		s.follow(t)
		s.put(t, key, "first")
		frozen := startWorker(t, s.spec("publish:before-rename", syscall.SIGSTOP))
		frozen.frozen(t)
		began := time.Now()
		// The transposer needs the row that the frozen session has locked.
		s.changed(t, fileKind, key, func() { s.put(t, key, "second, and longer") })
		took := time.Since(began).Round(time.Millisecond)
		t.Logf("the log went on %v after the publisher was frozen", took)
		if took > casqdb.IdleInTransaction+busy {
			t.Errorf("it took %v, want %v", took, casqdb.IdleInTransaction)
		}
		s.takeOver(t, false, func() { s.untilSynced(t, fileKind, key) })
		frozen.thaw(t)
		frozen.stop(t)
		s.wantFiles(t, map[string]string{key: "second, and longer"})
	})
}

// r95Idle is how long a holder may hold its locks here.
const r95Idle = time.Second
