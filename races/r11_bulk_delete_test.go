package races

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	r11Table = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint);
		INSERT INTO artifacts SELECT 'dir/file' || i, i % 10, i FROM generate_series(1, 100000) AS i`
	r11Track = `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
		scope_column => 'project_id', size_column => 'size')`
	// How many of the 100,000 have exactly one delete event, what those events
	// take away, and how many transactions wrote them.
	r11Logged = `SELECT format('%s deleted, %s bytes, %s items, %s transactions',
		count(DISTINCT resource_id) FILTER (WHERE op = 'deleted'), coalesce(sum(size_delta), 0), coalesce(sum(item_delta), 0), count(DISTINCT xid))
		FROM casq.events`
)

// TestR11BulkDelete: one statement deletes 100,000 resources. A program that tells
// of them after its commit, from what the statement returned, may die on the
// way: the rows are gone, and nobody knows any more which of them still need an
// event. The files of the rest stay on the second site for ever. So the events
// have to be of the same transaction as the deletion, and to write them must not
// cost a round trip per row.
func TestR11BulkDelete(t *testing.T) {
	t.Parallel()
	t.Run("twin/hook after the commit", func(t *testing.T) {
		t.Parallel()
		pool := database(t, r11Table, `SELECT casq.define_kind('artifact', 'file')`)
		deleted := r11Delete(t, pool)
		r11Hook(t, pool, deleted, 500)
		if got := lines(t, pool, r11Logged); got != "500 deleted, 0 bytes, 0 items, 500 transactions" {
			t.Errorf("%s; want only 500 of 100000, for that is what goes wrong", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		pool := database(t, r11Table, r11Track)
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		execute(t, tx, `DELETE FROM artifacts`)
		// Killed before the commit: all rows are there, and no event.
		execute(t, pool, `SELECT pg_terminate_backend(`+r11Backend(t, tx)+`, 5000)`)
		if err := tx.Commit(t.Context()); err == nil {
			t.Fatal("a session that was ended has committed")
		}
		if got := lines(t, pool, `SELECT count(*)::text FROM artifacts`); got != "100000" {
			t.Errorf("%s rows are left; want 100000", got)
		}
		if got := lines(t, pool, r11Logged); got != "0 deleted, 0 bytes, 0 items, 0 transactions" {
			t.Errorf("events of a transaction that was rolled back: %s", got)
		}
		execute(t, pool, `DELETE FROM artifacts`)
		if got := lines(t, pool, r11Logged); got != "100000 deleted, -5000050000 bytes, -100000 items, 1 transactions" {
			t.Error(got)
		}
	})
}

// r11Delete deletes everything and returns the keys, as a program would that
// has to tell of them itself.
func r11Delete(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `DELETE FROM artifacts RETURNING path`)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// r11Hook appends an event per row, until the program is killed after n of
// them: its session ends, and what it knew is gone.
func r11Hook(t *testing.T, pool *pgxpool.Pool, paths []string, n int) {
	t.Helper()
	program, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer program.Release()
	for i, path := range paths {
		if i == n {
			execute(t, pool, `SELECT pg_terminate_backend(`+r11Backend(t, program)+`, 5000)`)
		}
		if _, err := program.Exec(t.Context(), `SELECT casq.append_event('artifact', $1, 'deleted')`, path); err != nil {
			return
		}
	}
	t.Fatal("the program was not killed")
}

// r11Backend is the process of a session.
func r11Backend(t *testing.T, session interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}) (pid string) {
	t.Helper()
	if err := session.QueryRow(t.Context(), `SELECT pg_backend_pid()::text`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}
