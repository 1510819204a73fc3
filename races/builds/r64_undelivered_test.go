package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR64Undelivered: the answer is lost after the pick. The build is handed out again
// after the time within which a runner has to show a sign of life, and what the first one
// still says is refused.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR64Undelivered(t *testing.T) {
	t.Parallel()
	pool := database(t)
	runnertest.Ticks(t, pool)
	c := runnertest.New(t, pool, runner.Options{StartWithin: time.Second, SweepEvery: 100 * time.Millisecond})
	build := runnertest.Enqueue(t, pool)
	first := c.Request(runnertest.Runner(t, pool), "") // and nobody reads it
	second := c.Request(runnertest.Runner(t, pool), "")
	if first.Build() != build || second.Build() != build {
		t.Fatalf("got %s and %s, want build %d twice", first, second, build)
	}
	if a := c.Put(build, second.Token(), "running"); a.Status != http.StatusOK {
		t.Fatalf("the second one's first sign: %s", a)
	}
	t.Run("ours", func(t *testing.T) {
		for _, state := range []string{"running", "success", "failed"} {
			if a := c.Put(build, first.Token(), state); a.Status != http.StatusForbidden {
				t.Errorf("the first one says %s: %s", state, a)
			}
		}
		if status := runnertest.Status(t, pool, build); status != "running" {
			t.Errorf("it is %s", status)
		}
	})
	t.Run("twin/by the build's id", func(t *testing.T) {
		exec(t, pool, "UPDATE casq.builds SET status = 'success' WHERE id = $1 AND status = 'running'", build)
		if status := runnertest.Status(t, pool, build); status != "success" {
			t.Errorf("it is %s: the twin does not lose", status)
		}
	})
}
