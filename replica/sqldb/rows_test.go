package sqldb_test

import (
	"context"
	"database/sql"
	"reflect"
	"slices"
	"testing"

	"casq/internal/testing/long"
	"casq/replica"

	"github.com/jackc/pgx/v5/stdlib"
)

// values has one of each type that matters, and NULL.
const values = `SELECT true AS bool, 1::smallint AS small, 2::integer AS int, 3::bigint AS big, 4::oid AS oid,
	1.5::real AS real, 2.5::float8 AS double, 12.340::numeric(10, 3) AS money, 'NaN'::numeric AS nan,
	'text' AS text, 'vc'::varchar(7) AS varchar, 'c'::char(3) AS bpchar, 'n'::name AS name, '\x00ff'::bytea AS bytes,
	'2026-01-02'::date AS day, '2026-01-02 03:04:05.678'::timestamp AS local, '2026-01-02 03:04:05.678+02'::timestamptz AS at,
	'infinity'::timestamptz AS forever, '1 day 02:03'::interval AS interval, '10:11:12'::time AS time,
	'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid AS uuid, '{"a": 1}'::json AS json, '{"a": 1}'::jsonb AS jsonb,
	ARRAY['a', NULL, 'b,c'] AS texts, ARRAY[[1, 2], [3, 4]] AS matrix, int4range(1, 5) AS range, ROW(1, 'x') AS record,
	'10.0.0.1/8'::inet AS inet, '1/2A'::pg_lsn AS lsn, '7'::xid AS xid, NULL::text AS nothing, NULL::int[] AS no_array`

// column is a value and what is told of its type.
type column struct {
	value            any
	database         string
	length           int64
	hasLength        bool
	precision, scale int64
	decimal          bool
	scan             reflect.Type
}

// TestValuesAreThoseOfPgxStdlib compares every column, and what is told of its type,
// with pgx' own connector.
func TestValuesAreThoseOfPgxStdlib(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	plain := stdlib.OpenDBFromPool(s.Primary)
	defer plain.Close()
	names, want := columns(t.Context(), t, plain)
	for door, session := range map[string]*replica.Session{"no session": nil, "a session": s.replicas.Session()} {
		_, got := columns(replica.NewContext(t.Context(), session), t, s.db)
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%s: column %s is %#v, pgx' is %#v", door, names[i], got[i], want[i])
			}
		}
	}
}

func columns(ctx context.Context, t *testing.T, db *sql.DB) (names []string, columns []column) {
	t.Helper()
	rows, err := db.QueryContext(ctx, values)
	must(t, err)
	defer rows.Close()
	names, err = rows.Columns()
	must(t, err)
	types, err := rows.ColumnTypes()
	must(t, err)
	columns = make([]column, len(names))
	dest := make([]any, len(names))
	for i, told := range types {
		c := &columns[i]
		c.database, c.scan = told.DatabaseTypeName(), told.ScanType()
		c.length, c.hasLength = told.Length()
		c.precision, c.scale, c.decimal = told.DecimalSize()
		if c.precision > 1000 {
			c.precision, c.scale, c.decimal = 0, 0, false // Without a modifier pgx' makes one up.
		}
		dest[i] = &c.value
	}
	if !rows.Next() {
		t.Fatalf("no row: %v", rows.Err())
	}
	must(t, rows.Scan(dest...))
	if rows.Next() {
		t.Error("there is a second row")
	}
	must(t, rows.Err())
	return names, columns
}

func TestAnEmptyResultHasItsColumns(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	for name, session := range map[string]*replica.Session{"no session": nil, "a session": s.replicas.Session()} {
		rows, err := s.db.QueryContext(replica.NewContext(t.Context(), session), "SELECT id, body FROM documents WHERE false")
		must(t, err)
		defer rows.Close()
		got, err := rows.Columns()
		must(t, err)
		if !slices.Equal(got, []string{"id", "body"}) || rows.Next() {
			t.Errorf("%s: columns %q, want id and body, and no row", name, got)
		}
		must(t, rows.Err())
	}
}
