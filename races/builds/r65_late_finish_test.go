package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR65LateFinish: a build ran out of its time and was given to another runner; the old
// one reports success. It is refused, and the new attempt is unharmed.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR65LateFinish(t *testing.T) {
	t.Parallel()
	pool := database(t)
	runnertest.Ticks(t, pool)
	c := runnertest.New(t, pool, runner.Options{SweepEvery: 100 * time.Millisecond, LateAfter: time.Millisecond})
	build := runnertest.Pipeline(t, pool, runner.Build{Name: "long", Timeout: time.Second})[0]
	old := c.Request(runnertest.Runner(t, pool), "")
	c.Put(build, old.Token(), "running")
	await(t, func() bool { return runnertest.Status(t, pool, build) == "failed" })
	if reason := one[string](t, pool, "SELECT failure_reason FROM casq.builds"); reason != "job_execution_timeout" {
		t.Errorf("it failed by %s", reason)
	}
	exec(t, pool, "UPDATE casq.builds SET timeout = 3600")
	exec(t, pool, "SELECT casq.retry_build($1)", build)
	now := c.Request(runnertest.Runner(t, pool), "")
	if now.Build() != build {
		t.Fatalf("got %s, want build %d", now, build)
	}
	t.Run("ours", func(t *testing.T) {
		if a := c.Put(build, old.Token(), "success"); a.Status != http.StatusForbidden {
			t.Errorf("the old one says success: %s", a)
		}
		if a := c.Put(build, now.Token(), "running"); a.Status != http.StatusOK || a.Header.Get("Job-Status") != "running" {
			t.Errorf("the new one: %s, %s", a, a.Header.Get("Job-Status"))
		}
	})
	t.Run("twin/by the build's id", func(t *testing.T) {
		exec(t, pool, "UPDATE casq.builds SET status = 'success' WHERE id = $1 AND status = 'running'", build)
		if a := c.Put(build, now.Token(), "running"); a.Header.Get("Job-Status") != "success" {
			t.Errorf("the new one is told %s: the twin does not lose", a.Header.Get("Job-Status"))
		}
	})
}
