package builds

import (
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR61LostWakeup: the process that commits a build dies before it wakes anybody. A
// request that waits in another process gets the build within a tick, and no store is
// asked for that.
func TestR61LostWakeup(t *testing.T) {
	t.Parallel()
	t.Run("twin/whoever commits wakes", func(t *testing.T) {
		t.Parallel()
		b := newBell(database(t))
		got := b.request(t.Context(), t)
		<-b.in
		runnertest.Enqueue(t, b.pool) // and it dies here, before it rings
		b.lost(t, got)
	})
	t.Run("twin/whoever commits wakes/wins", func(t *testing.T) {
		t.Parallel()
		b := newBell(database(t))
		b.hold = 20 * time.Second
		got := b.request(t.Context(), t)
		<-b.in
		build := runnertest.Enqueue(t, b.pool)
		b.ring()
		if id := <-got; id != build {
			t.Errorf("got build %d, want %d", id, build)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		in := make(entered, 2)
		runnertest.Ticks(t, pool)
		c := runnertest.New(t, pool, runner.Options{Hook: in.hook, Recheck: time.Hour})
		got := c.Ask(t.Context(), runnertest.Runner(t, pool), "")
		<-in
		tx := begin(t, pool)
		build := one[int64](t, tx, "SELECT casq.add_build(casq.begin_pipeline(7), 'late', $1)", runnertest.Smallest)
		// One that comes into the queue later commits before it, and is taken: no question
		// for newer ones finds the first.
		other := runnertest.Runner(t, pool, "other")
		exec(t, pool, "INSERT INTO casq.projects (id) VALUES (8)")
		one[int64](t, pool, "SELECT casq.add_build(casq.begin_pipeline(8), 'early', $1, tags => '{other}')", runnertest.Smallest)
		if a := c.Request(other, ""); a.Build() == 0 {
			t.Fatalf("got %s", a)
		}
		must(t, tx.Commit(t.Context()))
		if a := <-got; a.Build() != build {
			t.Fatalf("got %s, want build %d", a, build)
		}
	})
}
