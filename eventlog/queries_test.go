package eventlog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/queries"
	"casq/internal/testing/testdb"
)

// Every query of the product can be prepared on the migrated database: its tables,
// columns, functions and types are there.
func TestQueriesArePreparedOnTheMigratedDatabase(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t).Pool(t)
	for _, dir := range []string{
		".", "../registry", "../jobs", "../counter", "../counter/recount", "../counter/internal/shards", "../cmd/enqueue",
		"../internal/cursor", "../internal/database", "../internal/retention", "../internal/worker",
	} {
		files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Errorf("%s has no queries", dir)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			topic := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "../"), ".sql")
			statements, err := queries.Split(topic, string(text))
			if err != nil {
				t.Fatal(err)
			}
			for _, statement := range statements {
				t.Run(topic+"."+statement.Name, func(t *testing.T) {
					t.Parallel()
					conn, err := pool.Acquire(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Release()
					// What enqueue waits for is in a table of its session's.
					if _, err := conn.Exec(t.Context(), `CREATE TEMPORARY TABLE IF NOT EXISTS asked (kind text, resource_id text, version bigint)`); err != nil {
						t.Fatal(err)
					}
					if _, err := conn.Conn().Prepare(t.Context(), "", statement.SQL); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
