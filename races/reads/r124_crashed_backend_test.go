package reads

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/servers"
	"casq/replica"

	"github.com/jackc/pgx/v5"
)

// TestR124CrashedBackend: a backend of a standby dies. Its postmaster, with the same
// address and the same start time, throws all others out and replays again, from
// further back: what was known of it is true no more.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR124CrashedBackend(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	// It replays again from here.
	for _, server := range []*servers.Postgres{r.Cluster.Primary, r.Cluster.Standbys[0]} {
		must(t, server.Exec(t.Context(), "CHECKPOINT"))
		r.CatchUp(t, 0)
	}
	db := r.open(t, replica.Options{Wait: -1}, 0)
	s := db.Session()
	sessionWrite(t, s, "a", "new")
	need := r.position(t, "pg_current_wal_insert_lsn()")
	r.CatchUp(t, 0)
	standbyAgain(t, func() *replica.Session { return s }, "a", "new")
	identity := func(t *testing.T) (started time.Time, at lsn, err error) {
		conn, err := pgx.Connect(t.Context(), r.Cluster.StandbyURL(0))
		if err != nil {
			return started, 0, err
		}
		defer func() { _ = conn.Close(t.Context()) }()
		err = conn.QueryRow(t.Context(), "SELECT pg_postmaster_start_time(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint").Scan(&started, &at)
		return started, at, err
	}
	before, known, err := identity(t)
	must(t, err)
	if known < need {
		t.Fatalf("the standby is at %d, before %d", known, need)
	}
	// From now on it replays each commit an hour late.
	must(t, r.Cluster.Standbys[0].SetApplyDelay(t.Context(), time.Hour))
	victim, err := pgx.Connect(t.Context(), r.Cluster.StandbyURL(0))
	must(t, err)
	must(t, syscall.Kill(int(victim.PgConn().PID()), syscall.SIGKILL))
	var after time.Time
	replicatest.Until(t, "the standby has thrown all out, and accepts connections", func() error {
		if err := victim.Ping(t.Context()); err == nil {
			return fmt.Errorf("the backend lives")
		}
		started, at, err := identity(t)
		if err == nil && at >= need {
			err = fmt.Errorf("it is at %d, not before %d", at, need)
		}
		after = started
		return err
	})

	t.Run("twin/known of this server", func(t *testing.T) {
		if !after.Equal(before) {
			t.Fatal("the postmaster was started anew")
		}
		conn, err := pgx.Connect(t.Context(), r.Cluster.StandbyURL(0))
		must(t, err)
		defer func() { _ = conn.Close(t.Context()) }()
		if got := body(t, conn, "a"); got != "old" {
			t.Errorf("the standby shows %q", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		for range 10 {
			wantPrimary(t, wantBody(t, s, "a", "new"))
		}
	})
}
