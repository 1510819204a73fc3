package races

import (
	"context"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// executor is a pool, a connection or a transaction.
type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// database returns a migrated database in which the statements were executed.
func database(t *testing.T, statements ...string) *pgxpool.Pool {
	t.Helper()
	pool := testdb.New(t).Pool(t)
	for _, statement := range statements {
		execute(t, pool, statement)
	}
	return pool
}

// execute runs statements, all in one transaction unless they say otherwise.
func execute(t *testing.T, db executor, sql string) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// lines returns a query's only column, a row a line.
func lines(t *testing.T, pool *pgxpool.Pool, query string) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(all, "\n")
}
