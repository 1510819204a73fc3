package builds

import (
	"encoding/json"
	"errors"
	"testing"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR76PoisonBuild: the oldest build cannot be made into what a runner understands. It
// fails alone, and the same request gets the next one.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR76PoisonBuild(t *testing.T) {
	t.Parallel()
	pool := database(t)
	c := runnertest.New(t, pool, runner.Options{})
	poison := runnertest.Enqueue(t, pool)
	exec(t, pool, `UPDATE casq.builds SET job = '{"steps": "none"}' WHERE id = $1`, poison)
	next := runnertest.Enqueue(t, pool)
	t.Run("twin/an error rolls the pick back", func(t *testing.T) {
		for range 3 {
			tx := begin(t, pool)
			id := one[int64](t, tx, nextSQL)
			var job struct{ Steps []any }
			err := json.Unmarshal(one[json.RawMessage](t, tx, "SELECT job FROM casq.builds WHERE id = $1", id), &job)
			must(t, tx.Rollback(t.Context()))
			var wrong *json.UnmarshalTypeError
			if id != poison || !errors.As(err, &wrong) {
				t.Errorf("it took %d: the twin does not lose", id)
			}
		}
	})
	t.Run("ours", func(t *testing.T) {
		if a := c.Request(runnertest.Runner(t, pool), ""); a.Build() != next {
			t.Fatalf("got %s, want build %d", a, next)
		}
		if status := runnertest.Status(t, pool, poison); status != "failed" {
			t.Errorf("the other is %s", status)
		}
		if why := one[string](t, pool, "SELECT casq.why_build($1)", poison); why == "" {
			t.Error("nobody says why")
		}
	})
}
