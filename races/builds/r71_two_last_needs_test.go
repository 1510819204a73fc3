package builds

import (
	"testing"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR71TwoLastNeeds: two builds that a third needs finish at the same moment. The third
// comes into the queue, exactly once.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR71TwoLastNeeds(t *testing.T) {
	t.Parallel()
	pool := database(t)
	c := runnertest.New(t, pool, runner.Options{})
	token := runnertest.Runner(t, pool)
	builds := runnertest.Pipeline(t, pool, runner.Build{Name: "one"}, runner.Build{Name: "two"}, runner.Build{Name: "three", Needs: []string{"one", "two"}})
	first, second := c.Request(token, ""), c.Request(token, "")
	for _, a := range []runnertest.Answer{first, second} {
		c.Put(a.Build(), a.Token(), "running")
	}
	t.Run("twin/each looks, and then commits", func(t *testing.T) {
		one1, two := begin(t, pool), begin(t, pool)
		exec(t, pool, "ALTER TABLE casq.builds DISABLE TRIGGER release")
		exec(t, one1, "UPDATE casq.builds SET status = 'success' WHERE id = $1", first.Build())
		exec(t, two, "UPDATE casq.builds SET status = 'success' WHERE id = $1", second.Build())
		if one[bool](t, one1, "SELECT casq.needs_are_met($1) IS TRUE", builds[2]) || one[bool](t, two, "SELECT casq.needs_are_met($1) IS TRUE", builds[2]) {
			t.Error("one of the two saw the other: the twin does not lose")
		}
		must(t, one1.Rollback(t.Context()))
		must(t, two.Rollback(t.Context()))
		exec(t, pool, "ALTER TABLE casq.builds ENABLE TRIGGER release")
	})
	t.Run("ours", func(t *testing.T) {
		tx := begin(t, pool)
		exec(t, tx, "UPDATE casq.builds SET status = 'success' WHERE id = $1", first.Build())
		done := make(chan runnertest.Answer)
		go func() { done <- c.Put(second.Build(), second.Token(), "success") }()
		await(t, func() bool {
			return one[int64](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") > 0
		})
		must(t, tx.Commit(t.Context()))
		if a := <-done; a.Header.Get("Job-Status") != "success" {
			t.Fatalf("the second: %s", a)
		}
		queued := one[int64](t, pool, "SELECT count(*) FROM casq.events WHERE kind = 'casq:builds' AND resource_id = $1::bigint::text", builds[2])
		if status := runnertest.Status(t, pool, builds[2]); status != "pending" || queued != 1 {
			t.Errorf("it is %s, and came into the queue %d times", status, queued)
		}
	})
}
