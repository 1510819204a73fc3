package migrations_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A schema that has more than this program knows, and says that the program works on it,
// is left as it is, and used.
func TestNewerSchemaThatSaysSoIsUsed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	_, err := pool.Exec(t.Context(), "UPDATE casq.migration_version SET version = version + 1")
	must(t, err)
	before := catalog(t, pool)
	must(t, migrations.Check(t.Context(), pool))
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	if err := migrations.Down(t.Context(), db.URL, 1, quiet); !errors.Is(err, migrations.ErrNewer) {
		t.Errorf("down: %v", err)
	}
	same(t, "newer schema", catalog(t, pool), before)
	for _, needed := range []int32{migrations.Latest(), migrations.Latest() + 1} {
		_, err := pool.Exec(t.Context(), "UPDATE casq.installation SET oldest_program = $1", needed)
		must(t, err)
		if err := migrations.Check(t.Context(), pool); (err == nil) != (needed == migrations.Latest()) || err != nil && !errors.Is(err, migrations.ErrNewer) {
			t.Errorf("needs %d: %v", needed, err)
		}
	}
}

// Migrating up says which programs work on what it has made, and none that it has is
// older than the newest one.
func TestUpSaysWhichProgramsWork(t *testing.T) {
	t.Parallel()
	if oldest := oldestProgram(t, testdb.New(t).Pool(t)); oldest < 1 || oldest > migrations.Latest() {
		t.Errorf("the oldest program knows migration %d, and the newest is %d", oldest, migrations.Latest())
	}
}

// Workers that would not work on the new schema are not left behind.
func TestUpIsRefusedWhileOlderWorkersAreAlive(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	for _, c := range []struct {
		knows   int32
		beat    time.Duration
		refused bool
	}{{0, 0, true}, {0, time.Hour, false}, {migrations.Latest(), 0, false}} {
		_, err := pool.Exec(t.Context(), "DELETE FROM casq.workers")
		must(t, err)
		_, err = pool.Exec(t.Context(), `INSERT INTO casq.workers (id, host, pid, version, schema_version, beat_at)
			VALUES (gen_random_uuid(), 'elsewhere', 7, 'v0.1.0', $1, clock_timestamp() - $2::interval)`, c.knows, c.beat)
		must(t, err)
		err = migrations.Up(t.Context(), db.URL, quiet)
		if errors.Is(err, migrations.ErrInUse) != c.refused || c.refused && !strings.Contains(err.Error(), "elsewhere (pid 7, version v0.1.0)") {
			t.Errorf("knows %d, %s ago: %v", c.knows, c.beat, err)
		}
	}
}

const waitsForTable = `SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
	WHERE NOT l.granted AND l.locktype = 'relation' AND a.datname = current_database() AND a.application_name = 'casq migrate')`

// A migration that waits for a table does not hold up those who use it: it gives way,
// and tries again.
func TestUpGivesWay(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	must(t, migrations.Down(t.Context(), db.URL, 6, quiet))
	tx, err := pool.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	// On which 007 makes a trigger.
	_, err = tx.Exec(t.Context(), "LOCK TABLE casq.tracked IN ROW EXCLUSIVE MODE")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- migrations.Up(t.Context(), db.URL, quiet) }()
	await.Row(t, 10*time.Second, pool, waitsForTable)
	// Behind it: the application waits for no longer than the migration does.
	_, err = pool.Exec(t.Context(), "BEGIN; SET LOCAL lock_timeout = '10s'; LOCK TABLE casq.tracked IN ROW EXCLUSIVE MODE; COMMIT")
	must(t, err)
	must(t, tx.Commit(t.Context()))
	must(t, <-done)
	must(t, migrations.Check(t.Context(), pool))
}

// A migration that is the victim of a deadlock was rolled back, and is begun again.
func TestUpAfterADeadlock(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	must(t, migrations.Down(t.Context(), db.URL, 6, quiet))
	tx, err := pool.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	// Whoever waits first is the victim: it looks first.
	_, err = tx.Exec(t.Context(), "SET LOCAL deadlock_timeout = '20s'")
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE casq.tracked IN ROW EXCLUSIVE MODE")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- migrations.Up(t.Context(), db.URL, quiet) }()
	await.Row(t, 10*time.Second, pool, waitsForTable)
	// A name that the migration has taken: it is waited for.
	_, err = tx.Exec(t.Context(), "CREATE TABLE casq.counter_kinds ()")
	must(t, err)
	must(t, tx.Rollback(t.Context()))
	must(t, <-done)
	must(t, migrations.Check(t.Context(), pool))
}

// oldestProgram is what the schema says of itself.
func oldestProgram(t *testing.T, pool *pgxpool.Pool) (oldest int32) {
	t.Helper()
	must(t, pool.QueryRow(t.Context(), "SELECT oldest_program FROM casq.installation").Scan(&oldest))
	return oldest
}

// What was gone back to is the schema of a program of before, which works on it. One that
// was killed before it said so says it when it is run again.
func TestDownSaysThatOlderProgramsWork(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	newest := oldestProgram(t, pool)
	for _, killed := range []bool{false, true} {
		if killed {
			_, err := pool.Exec(t.Context(), "UPDATE casq.installation SET oldest_program = $1", newest)
			must(t, err)
		}
		must(t, migrations.Down(t.Context(), db.URL, 6, quiet))
		if got := oldestProgram(t, pool); got > 6 {
			t.Errorf("killed before: %t: the schema is at 6, and needs a program that knows %d", killed, got)
		}
	}
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	if got := oldestProgram(t, pool); got != newest {
		t.Errorf("up again, the oldest program knows %d, want %d", got, newest)
	}
}

// A migration that is killed, or waits for a table, has said before it changed anything
// which programs will not work.
func TestUpRefusesOlderProgramsFirst(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	newest := oldestProgram(t, pool)
	must(t, migrations.Down(t.Context(), db.URL, 6, quiet))
	_, err := pool.Exec(t.Context(), "UPDATE casq.installation SET oldest_program = 0")
	must(t, err)
	tx, err := pool.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), "LOCK TABLE casq.tracked IN ROW EXCLUSIVE MODE")
	must(t, err)
	ctx, kill := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- migrations.Up(ctx, db.URL, quiet) }()
	await.Row(t, 10*time.Second, pool, waitsForTable)
	kill()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	if got := oldestProgram(t, pool); got != newest {
		t.Errorf("in the middle of it the oldest program knows %d, want %d", got, newest)
	}
}
