package migrations_test

import (
	"strings"
	"testing"

	"casq/internal/testing/testdb"
	"casq/replica"
)

// TestReplicaIsSetUp: what the migrations make for package replica is what
// replica.Setup makes anywhere else.
func TestReplicaIsSetUp(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	must(t, replica.Setup(t.Context(), pool, "elsewhere"))
	describe := func(schema string) string {
		var function, columns, constraints string
		must(t, pool.QueryRow(t.Context(), `SELECT pg_get_functiondef(format('%I.begin_server_timeline', $1::text)::regproc),
			(SELECT string_agg(concat_ws(' ', c.column_name, c.data_type, c.is_nullable, c.column_default), E'\n' ORDER BY c.ordinal_position)
			 FROM information_schema.columns AS c WHERE c.table_schema = $1 AND c.table_name = 'server_timelines'),
			(SELECT string_agg(pg_get_constraintdef(c.oid), E'\n' ORDER BY c.conname)
			 FROM pg_constraint AS c WHERE c.conrelid = format('%I.server_timelines', $1::text)::regclass)`, schema).
			Scan(&function, &columns, &constraints))
		text := strings.Join([]string{function, columns, constraints}, "\n")
		return strings.ReplaceAll(strings.ReplaceAll(text, `"`+schema+`"`, "SCHEMA"), schema+".", "SCHEMA.")
	}
	if got, want := describe("casq"), describe("elsewhere"); got != want {
		same(t, "what the migrations make", got, want)
	}
}
