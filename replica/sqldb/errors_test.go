package sqldb_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"

	"casq/internal/testing/long"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgconn"
)

// terminate ends all connections to the primary but the one that it uses.
func (s *site) terminate(t *testing.T) {
	t.Helper()
	must(t, s.Cluster.Primary.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
		WHERE datname = 'casq_test' AND pid <> pg_backend_pid()`))
}

// TestAStatementThatWasNotSentIsRepeated meets connections of the pool that have
// long been dead.
func TestAStatementThatWasNotSentIsRepeated(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	ctx := replica.NewContext(t.Context(), s.replicas.Session())
	for range 5 {
		_, err := s.db.ExecContext(ctx, "UPDATE documents SET body = body || 'x'")
		must(t, err)
	}
	s.terminate(t)
	var ended *pgconn.PgError
	_, err := s.db.ExecContext(ctx, "UPDATE documents SET body = 'once'")
	if err != nil && !errors.As(err, &ended) {
		t.Errorf("%v, want none, or the server's word", err)
	}
	if errors.Is(err, driver.ErrBadConn) {
		t.Error("database/sql was left with a bad connection")
	}
}

// TestNothingIsRepeatedAfterTheFirstRow ends the server's side in the midst of a result.
func TestNothingIsRepeatedAfterTheFirstRow(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	session := s.replicas.Session()
	session.Pin()
	ctx := replica.NewContext(t.Context(), session)
	rows, err := s.db.QueryContext(ctx, "SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
	must(t, err)
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	s.terminate(t)
	last := 1
	for rows.Next() {
		var n int
		var text string
		must(t, rows.Scan(&n, &text))
		if n != last+1 {
			t.Fatalf("row %d after row %d", n, last)
		}
		last = n
	}
	if err := rows.Err(); err == nil || errors.Is(err, driver.ErrBadConn) {
		t.Errorf("the result ends with %v after %d rows, want the connection's error", err, last)
	}
}

// TestAnErrorInATransactionIsTheCallers: its statements are not repeated elsewhere.
func TestAnErrorInATransactionIsTheCallers(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	ctx := replica.NewContext(t.Context(), s.replicas.Session())
	tx, err := s.db.BeginTx(ctx, nil)
	must(t, err)
	s.terminate(t)
	for range 2 {
		if _, err := tx.ExecContext(ctx, "UPDATE documents SET body = 'never'"); err == nil || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%v, want the connection's error", err)
		}
	}
	_ = tx.Rollback()
	if got := s.body(t, nil); got != "old" {
		t.Errorf("body %q, want old", got)
	}
}

func TestErrorsArePostgres(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	ctx := replica.NewContext(t.Context(), s.replicas.Session())
	var answer *pgconn.PgError
	if _, err := s.db.ExecContext(ctx, "INSERT INTO documents VALUES ('a', 'twice')"); !errors.As(err, &answer) || answer.Code != "23505" {
		t.Errorf("%v, want a unique violation", err)
	}
	var n int
	if err := s.db.QueryRowContext(ctx, "SELECT 1 / 0").Scan(&n); !errors.As(err, &answer) || answer.Code != "22012" {
		t.Errorf("%v, want a division by zero", err)
	}
	if err := s.db.QueryRowContext(ctx, "SELECT 1 FROM documents WHERE false").Scan(&n); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("%v, want no rows", err)
	}
	if _, err := s.db.Driver().Open("postgres://"); err == nil {
		t.Error("the driver opened a connection string")
	}
}
