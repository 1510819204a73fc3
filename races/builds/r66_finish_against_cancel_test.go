package builds

import (
	"testing"

	"casq/internal/testing/runnertest"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR66FinishAgainstCancel: a runner's success and a cancel commit at once. There is one
// outcome, and both are told that one.
func TestR66FinishAgainstCancel(t *testing.T) {
	t.Parallel()
	running := func(t *testing.T, options runner.Options) (*pgxpool.Pool, *runnertest.Coordinator, runnertest.Answer) {
		t.Helper()
		pool := database(t)
		c := runnertest.New(t, pool, options)
		runnertest.Enqueue(t, pool)
		a := c.Request(runnertest.Runner(t, pool), "")
		c.Put(a.Build(), a.Token(), "running")
		return pool, c, a
	}
	t.Run("twin/read, then written", func(t *testing.T) {
		t.Parallel()
		pool, _, a := running(t, runner.Options{})
		if status := runnertest.Status(t, pool, a.Build()); status != "running" {
			t.Fatalf("it is %s", status)
		}
		// Here the cancel commits, and its caller is told so.
		told := one[string](t, pool, "SELECT casq.cancel_build($1)", a.Build())
		exec(t, pool, "ALTER TABLE casq.builds DISABLE TRIGGER check_updated")
		exec(t, pool, "UPDATE casq.builds SET status = 'success', finished_at = now() WHERE id = $1", a.Build())
		if told != "canceling" || runnertest.Status(t, pool, a.Build()) != "success" {
			t.Errorf("the canceler was told %s: the twin does not lose", told)
		}
	})
	t.Run("ours/the cancel first", func(t *testing.T) {
		t.Parallel()
		p := stopAt("finishing", 1)
		pool, c, a := running(t, runner.Options{Hook: p.hook})
		done := make(chan runnertest.Answer)
		go func() { done <- c.Put(a.Build(), a.Token(), "success") }()
		<-p.reached
		tx := begin(t, pool)
		told := one[string](t, tx, "SELECT casq.cancel_build($1)", a.Build())
		close(p.goOn) // it waits for the lock
		must(t, tx.Commit(t.Context()))
		if status := (<-done).Header.Get("Job-Status"); told != "canceling" || status != "canceled" || runnertest.Status(t, pool, a.Build()) != "canceled" {
			t.Errorf("the canceler was told %s, the runner %s, it is %s", told, status, runnertest.Status(t, pool, a.Build()))
		}
	})
	t.Run("ours/the success first", func(t *testing.T) {
		t.Parallel()
		pool, c, a := running(t, runner.Options{})
		if status := c.Put(a.Build(), a.Token(), "success").Header.Get("Job-Status"); status != "success" {
			t.Errorf("the runner was told %s", status)
		}
		if _, err := pool.Exec(t.Context(), "SELECT casq.cancel_build($1)", a.Build()); err == nil {
			t.Error("it was canceled after its end")
		}
	})
}
