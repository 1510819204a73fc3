package builds

import (
	"os"
	"testing"

	"casq/internal/queries"
	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR67DeepQueue: the first 10,000 builds match no runner that asks. The one behind them
// is found at once.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR67DeepQueue(t *testing.T) {
	t.Parallel()
	const deep = 10_000
	pool := database(t)
	runnertest.Enqueue(t, pool, "nobody")
	exec(t, pool, `INSERT INTO casq.builds (pipeline_id, project_id, name, status, tag_set, turn, job)
		SELECT pipeline_id, project_id, name, status, tag_set, turn, job FROM casq.builds, generate_series(1, $1)`, deep)
	exec(t, pool, "UPDATE casq.projects SET max_waiting = 1000000")
	// And as many for runners with the tag, of a project that is not the runner's below.
	exec(t, pool, `INSERT INTO casq.projects (id) VALUES (8)`)
	other := one[int64](t, pool, "SELECT casq.add_build(casq.begin_pipeline(8), 'other', $1, tags => '{mine}')", runnertest.Smallest)
	exec(t, pool, `INSERT INTO casq.builds (pipeline_id, project_id, name, status, tag_set, turn, job)
		SELECT pipeline_id, project_id, name, status, tag_set, turn, job FROM casq.builds, generate_series(1, $1) WHERE id = $2`, deep, other)
	build := runnertest.Enqueue(t, pool, "linux")
	mine := runnertest.Enqueue(t, pool, "mine")
	exec(t, pool, "ANALYZE casq.builds")
	t.Run("twin/a page of the queue", func(t *testing.T) {
		found := one[bool](t, pool, `SELECT EXISTS (SELECT FROM (SELECT * FROM casq.builds WHERE status = 'pending' ORDER BY id LIMIT 1000) AS b
			JOIN casq.tag_sets AS s ON s.id = b.tag_set WHERE s.tags <@ '{linux}')`)
		if found {
			t.Error("it was found: the twin does not lose")
		}
	})
	t.Run("twin/all of the queue", func(t *testing.T) {
		pages := testdb.Buffers(t, pool, `SELECT b.id FROM casq.builds AS b JOIN casq.tag_sets AS s ON s.id = b.tag_set
			WHERE b.status = 'pending' AND s.tags <@ '{linux}' ORDER BY b.id LIMIT 1`)
		if pages < 100 {
			t.Errorf("it read %d pages: the twin does not lose", pages)
		}
	})
	t.Run("ours", func(t *testing.T) {
		if pages := pagesOfALook(t, pool, []string{"linux"}, nil); pages > 30 {
			t.Errorf("a poll read %d pages", pages)
		}
		c := runnertest.New(t, pool, runner.Options{})
		if a := c.Request(runnertest.Runner(t, pool, "linux"), ""); a.Build() != build {
			t.Fatalf("got %s, want build %d", a, build)
		}
	})
	t.Run("ours/of some projects", func(t *testing.T) {
		if pages := pagesOfALook(t, pool, []string{"mine"}, []int64{7, 9}); pages > 30 {
			t.Errorf("a poll read %d pages", pages)
		}
		c := runnertest.New(t, pool, runner.Options{})
		token := runnertest.Runner(t, pool, "mine")
		exec(t, pool, "UPDATE casq.runners SET projects = '{7,9}' WHERE tags = '{mine}'")
		if a := c.Request(token, ""); a.Build() != mine {
			t.Fatalf("got %s, want build %d", a, mine)
		}
	})
}

// pagesOfALook is for a session that has read the catalogs.
func pagesOfALook(t *testing.T, pool *pgxpool.Pool, tags []string, projects []int64) int {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	poll := statement(t, "../../runner/pick.sql", "Waits")
	testdb.Buffers(t, conn, poll, tags, true, projects, 0, uuid.Nil)
	return testdb.Buffers(t, conn, poll, tags, true, projects, 0, uuid.Nil)
}

// statement returns one of the product's own.
func statement(t testing.TB, file, name string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	all, err := queries.Split("runner", string(text))
	must(t, err)
	for _, s := range all {
		if s.Name == name {
			return s.SQL
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return ""
}
