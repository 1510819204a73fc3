package builds

import (
	"errors"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

// TestR73RolledBackPick: a pick holds the build's row, the poll of another runner passes
// it over and finds nothing, the pick rolls back. The other gets the build in the request
// that it has open.
func TestR73RolledBackPick(t *testing.T) {
	t.Parallel()
	t.Run("twin/nothing found is nothing there", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		runnertest.Enqueue(t, pool)
		n := &naive{key: "one"}
		tx := begin(t, pool)
		one[int64](t, tx, nextSQL)
		var id int64
		err := pool.QueryRow(t.Context(), nextSQL).Scan(&id)
		must(t, tx.Rollback(t.Context()))
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Fatalf("it found %d, %v", id, err)
		}
		// It is told the newest key, and a rollback changes none.
		if build, _ := n.request(t, n.key); build {
			t.Error("it was picked: the twin does not lose")
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		in := make(entered, 1)
		picked := stopAt("picked", 2) // the first poll, with few and with many heads
		c := runnertest.New(t, pool, runner.Options{Recheck: time.Hour, Hook: func(name string) { in.hook(name); picked.hook(name) }})
		runnertest.Ticks(t, pool)
		build := runnertest.Enqueue(t, pool)
		tx := begin(t, pool)
		exec(t, tx, "SELECT FROM casq.builds WHERE id = $1 FOR NO KEY UPDATE", build)
		got := c.Ask(t.Context(), runnertest.Runner(t, pool), "")
		<-in
		<-picked.reached
		close(picked.goOn)
		<-picked.reached
		began := time.Now()
		must(t, tx.Rollback(t.Context()))
		a := <-got
		if a.Build() != build {
			t.Fatalf("got %s, want build %d", a, build)
		}
		t.Log("picked up after", time.Since(began))
	})
}
