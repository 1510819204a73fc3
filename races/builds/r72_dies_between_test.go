package builds

import (
	"net/http"
	"testing"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR72DiesBetween: the process dies between the end of a build and the release of those
// that need it. They come into the queue without an operator.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR72DiesBetween(t *testing.T) {
	t.Parallel()
	pool := database(t)
	c := runnertest.New(t, pool, runner.Options{})
	token := runnertest.Runner(t, pool)
	pipeline := func(t *testing.T) (runnertest.Answer, int64) {
		t.Helper()
		builds := runnertest.Pipeline(t, pool, runner.Build{Name: "one"}, runner.Build{Name: "two", Needs: []string{"one"}})
		a := c.Request(token, "")
		if a.Build() != builds[0] {
			t.Fatalf("got %s, want build %d", a, builds[0])
		}
		c.Put(a.Build(), a.Token(), "running")
		return a, builds[1]
	}
	t.Run("ours", func(t *testing.T) {
		a, next := pipeline(t)
		// What the process does in its transaction; its session dies before the commit.
		tx := begin(t, pool)
		exec(t, tx, "UPDATE casq.builds SET status = 'success' WHERE id = $1", a.Build())
		exec(t, pool, "SELECT pg_terminate_backend($1)", int32(tx.Conn().PgConn().PID()))
		if err := tx.Commit(t.Context()); err == nil {
			t.Fatal("it committed")
		}
		if stuck := one[int64](t, pool, "SELECT count(*) FROM casq.stuck_pipelines"); stuck != 0 {
			t.Errorf("%d pipelines are stuck", stuck)
		}
		// The runner has no answer, and says it again.
		if a := c.Put(a.Build(), a.Token(), "success"); a.Status != http.StatusOK {
			t.Fatalf("the end: %s", a)
		}
		if status := runnertest.Status(t, pool, next); status != "pending" {
			t.Errorf("what needs it is %s", status)
		}
	})
	t.Run("twin/two transactions", func(t *testing.T) {
		exec(t, pool, "UPDATE casq.builds SET status = 'canceled' WHERE status = 'pending'")
		a, next := pipeline(t)
		exec(t, pool, "ALTER TABLE casq.builds DISABLE TRIGGER release")
		exec(t, pool, "UPDATE casq.builds SET status = 'success' WHERE id = $1", a.Build())
		// It dies here. The runner says it again, and it has ended.
		exec(t, pool, "ALTER TABLE casq.builds ENABLE TRIGGER release")
		c.Put(a.Build(), a.Token(), "success")
		if status := runnertest.Status(t, pool, next); status != "created" || one[int64](t, pool, "SELECT count(*) FROM casq.stuck_pipelines") != 1 {
			t.Errorf("what needs it is %s: the twin does not lose", status)
		}
	})
}
