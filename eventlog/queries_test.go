package eventlog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/testdb"
)

// Every query that is embedded somewhere can be prepared on the migrated
// database: its tables, columns, functions and types are there.
func TestQueriesArePreparedOnTheMigratedDatabase(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t).Pool(t)
	for _, dir := range []string{".", "../registry", "../jobs", "../internal/cursor", "../internal/retention", "../internal/worker", "../counter"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Errorf("%s has no queries", dir)
		}
		for _, file := range files {
			t.Run(strings.TrimPrefix(filepath.ToSlash(file), "../"), func(t *testing.T) {
				t.Parallel()
				query, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				conn, err := pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Release()
				if _, err := conn.Conn().Prepare(t.Context(), file, string(query)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
