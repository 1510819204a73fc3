package migrations_test

import (
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

const schemaFile = "schema.sql"

//go:embed testdata/definitions.sql
var definitionsSQL string

var update = flag.Bool("update", false, "write "+schemaFile+" anew from a migrated database")

// schema.sql is what is read to know what an object is today, and what a review
// sees a change of a migration do. Views are compared only on the version of
// Postgres that has written it: 16 and later print them otherwise.
func TestSchema(t *testing.T) {
	t.Parallel()
	major, got := schema(t)
	if *update {
		must(t, os.WriteFile(schemaFile, []byte(got), 0o644))
		return
	}
	data, err := os.ReadFile(schemaFile)
	must(t, err)
	want := string(data)
	if want == got {
		return
	}
	has, had := sections(got), sections(want)
	if !strings.Contains(had[""], fmt.Sprintf("Postgres %d ", major)) {
		for _, s := range []map[string]string{has, had} {
			delete(s, "")
			delete(s, "Views")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if has[name] != had[name] {
			t.Errorf("%s differs in %q; write it anew: go test ./migrations -run TestSchema -update", schemaFile, name)
			same(t, schemaFile, has[name], had[name])
		}
	}
	if len(has) != len(had) {
		t.Errorf("%s has %d sections, want %d", schemaFile, len(had), len(has))
	}
}

// schema describes a migrated database, and tells the version of Postgres.
func schema(t *testing.T) (major int, text string) {
	t.Helper()
	pool := testdb.New(t).Pool(t)
	tx, err := pool.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	// Names are qualified that are not found without it.
	_, err = tx.Exec(t.Context(), "SET LOCAL search_path = pg_catalog")
	must(t, err)
	must(t, tx.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::integer / 10000").Scan(&major))
	var out strings.Builder
	fmt.Fprintf(&out, `-- The schema casq as all migrations leave it. Not applied by anything: it is made
-- from a migrated database, to be read, and compared with one by TestSchema.
-- After a change of a migration: go test ./migrations -run TestSchema -update
--
-- Comments are in the migrations. Views are as Postgres %d prints them.
`, major)
	rows, err := tx.Query(t.Context(), definitionsSQL)
	must(t, err)
	var section, definition, last string
	_, err = pgx.ForEachRow(rows, []any{&section, &definition}, func() error {
		if section != last {
			fmt.Fprintf(&out, "\n%s%s\n", sectionNonce, section)
			last = section
		}
		fmt.Fprintf(&out, "\n%s\n", definition)
		return nil
	})
	must(t, err)
	return major, out.String()
}

const sectionNonce = "---- "

// sections splits a schema at its headings; "" is what comes before the first.
func sections(text string) map[string]string {
	found, name := make(map[string]string), ""
	for line := range strings.Lines(text) {
		if heading, is := strings.CutPrefix(line, sectionNonce); is {
			name = strings.TrimSpace(heading)
		}
		found[name] += line
	}
	return found
}
