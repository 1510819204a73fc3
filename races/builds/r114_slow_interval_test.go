package builds

import (
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR114SlowInterval: runners are told to report rarely, and one is silent for four
// times that, as it may be. It is not taken for silent before.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR114SlowInterval(t *testing.T) {
	t.Parallel()
	const interval = 500 * time.Millisecond
	pool := database(t)
	c := runnertest.New(t, pool, runner.Options{TraceInterval: interval, SilentAfter: interval, SweepEvery: 20 * time.Millisecond, ContactsEvery: 10 * time.Millisecond})
	runnertest.Enqueue(t, pool)
	a := c.Request(runnertest.Runner(t, pool), "")
	c.Put(a.Build(), a.Token(), "running")
	await(t, func() bool { return runnertest.Status(t, pool, a.Build()) != "running" })
	silent := one[float64](t, pool, `SELECT extract(epoch FROM b.finished_at - greatest(b.started_at, s.heard_at))::float8
		FROM casq.builds AS b LEFT JOIN casq.build_signs AS s ON s.build_id = b.id`)
	t.Run("ours", func(t *testing.T) {
		if silent < 4*interval.Seconds() {
			t.Errorf("it was ended after %.2f s of silence", silent)
		}
		if message := one[string](t, pool, "SELECT message FROM casq.builds"); message != "its runner fell silent" {
			t.Errorf("it was ended because: %s", message)
		}
	})
	t.Run("twin/by the interval", func(t *testing.T) {
		if silent <= interval.Seconds() {
			t.Error("it was never silent for longer than one interval: the twin does not lose")
		}
	})
}
