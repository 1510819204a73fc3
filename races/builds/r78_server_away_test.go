package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR78ServerAway: the server is down for longer than a runner may be silent, and builds
// end meanwhile. Their late success is recorded, and nothing has failed as silent.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR78ServerAway(t *testing.T) {
	t.Parallel()
	pool := database(t)
	options := runner.Options{TraceInterval: 500 * time.Millisecond, SilentAfter: 2 * time.Second, SweepEvery: 20 * time.Millisecond, ContactsEvery: 50 * time.Millisecond}
	c := runnertest.New(t, pool, options)
	runnertest.Enqueue(t, pool)
	a := c.Request(runnertest.Runner(t, pool), "")
	c.Put(a.Build(), a.Token(), "running")
	c.Stop()
	exec(t, pool, "UPDATE casq.builds SET started_at = now() - interval '1 hour', assigned_at = now() - interval '1 hour', timeout = 86400")
	exec(t, pool, "UPDATE casq.build_signs SET heard_at = now() - interval '1 hour'")
	t.Run("twin/silence counts", func(t *testing.T) {
		overdue := statement(t, "../../runner/build.sql", "Overdue")
		var id, attempt int64
		var status, why string
		must(t, pool.QueryRow(t.Context(), overdue, 120, 2, true).Scan(&id, &attempt, &status, &why))
		if id != a.Build() || why != "silent" {
			t.Errorf("build %d is %s: the twin does not lose", id, why)
		}
	})
	t.Run("ours", func(t *testing.T) {
		swept := stopAt("swept", 5)
		close(swept.goOn)
		options.Hook = swept.hook
		back := runnertest.New(t, pool, options)
		for range cap(swept.reached) {
			<-swept.reached
		}
		if a := back.Put(a.Build(), a.Token(), "success"); a.Status != http.StatusOK || a.Header.Get("Job-Status") != "success" {
			t.Errorf("the late success: %s", a)
		}
		if status := runnertest.Status(t, pool, a.Build()); status != "success" {
			t.Errorf("it is %s", status)
		}
	})
}
