package builds

import (
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR77CancelBeforeTheFirstSign: a build is cancelled between the pick and the runner's
// first call: it is canceled at once, since some runners never say more. And one that is
// canceling whose runner dies is canceled when that is noticed.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR77CancelBeforeTheFirstSign(t *testing.T) {
	t.Parallel()
	pool := database(t)
	c := runnertest.New(t, pool, runner.Options{
		TraceInterval: 100 * time.Millisecond, SilentAfter: time.Millisecond, // four times the interval
		SweepEvery: 50 * time.Millisecond, ContactsEvery: 50 * time.Millisecond,
	})
	token := runnertest.Runner(t, pool)
	t.Run("ours/before the first sign", func(t *testing.T) {
		runnertest.Enqueue(t, pool)
		a := c.Request(token, "")
		if told := one[string](t, pool, "SELECT casq.cancel_build($1)", a.Build()); told != "canceled" {
			t.Errorf("the canceler is told %s", told)
		}
		if status := c.Put(a.Build(), a.Token(), "running").Header.Get("Job-Status"); status != "canceled" {
			t.Errorf("the runner is told %s", status)
		}
	})
	t.Run("ours/its runner dies", func(t *testing.T) {
		runnertest.Enqueue(t, pool)
		a := c.Request(token, "")
		c.Put(a.Build(), a.Token(), "running")
		if told := one[string](t, pool, "SELECT casq.cancel_build($1)", a.Build()); told != "canceling" && told != "canceled" {
			t.Errorf("the canceler is told %s", told)
		}
		await(t, func() bool { return runnertest.Status(t, pool, a.Build()) == "canceled" })
	})
	t.Run("twin/canceling at once", func(t *testing.T) {
		runnertest.Enqueue(t, pool)
		a := c.Request(token, "")
		exec(t, pool, "UPDATE casq.builds SET status = 'canceling' WHERE id = $1", a.Build())
		// A runner of 18.5 hears it in answer to its first call, and says nothing more.
		if status := c.Put(a.Build(), a.Token(), "running").Header.Get("Job-Status"); status != "canceling" || runnertest.Status(t, pool, a.Build()) != "canceling" {
			t.Errorf("the runner is told %s: the twin does not lose", status)
		}
	})
}
