package builds

import (
	"context"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR74GoneWaiter: of two that wait the one that is woken has gone. The other gets the
// build at once.
func TestR74GoneWaiter(t *testing.T) {
	t.Parallel()
	t.Run("twin/one is woken", func(t *testing.T) {
		t.Parallel()
		b := newBell(database(t))
		ctx, hangUp := context.WithCancel(t.Context())
		gone := b.request(ctx, t)
		<-b.in
		other := b.request(t.Context(), t)
		<-b.in
		hangUp()
		<-gone
		runnertest.Enqueue(t, b.pool)
		b.ring() // the first, which has gone
		b.lost(t, other)
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		in := make(entered, 2)
		woken := stopAt("woken", 10) // the log may wake the second as the hint has woken the first
		c := runnertest.New(t, pool, runner.Options{Recheck: time.Hour, Hook: func(name string) { in.hook(name); woken.hook(name) }})
		runnertest.Ticks(t, pool)
		ctx, hangUp := context.WithCancel(t.Context())
		gone := c.Ask(ctx, runnertest.Runner(t, pool), "")
		<-in
		other := c.Ask(t.Context(), runnertest.Runner(t, pool), "")
		<-in
		build := runnertest.Enqueue(t, pool)
		<-woken.reached // one of the two
		hangUp()
		<-gone
		<-c.HungUp
		close(woken.goOn)
		began := time.Now()
		if a := <-other; a.Build() != build {
			t.Fatalf("got %s, want build %d", a, build)
		}
		t.Log("picked up after", time.Since(began))
	})
}
