package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"
)

// TestR113HeartbeatStorm: 5,000 requests find no build. Nothing is written, no event is
// appended, and nobody is woken.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR113HeartbeatStorm(t *testing.T) {
	t.Parallel()
	const polls = 5000
	// Transactions are numbered for all databases of a server.
	cluster := testdb.NewCluster(t, testdb.Settings(map[string]string{"autovacuum": "off"}))
	pool := testdb.Pool(t, cluster.URL())
	// As many as it takes for none to be told that it calls too often.
	tokens, told := make([]string, 25), make([]string, 25)
	for i := range tokens {
		tokens[i] = runnertest.Runner(t, pool)
	}
	runnertest.Tick(t, pool)
	woken := stopAt("woken", polls)
	close(woken.goOn)
	c := runnertest.New(t, pool, runner.Options{Hold: time.Millisecond, ContactsEvery: time.Hour, Hook: woken.hook})
	// The next transaction that writes anything takes this number.
	const nextSQL = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
	for i, token := range tokens {
		for told[i] == "" { // until it has begun to follow the log, which wakes who waits
			told[i] = c.Request(token, "").Told()
		}
	}
	for len(woken.reached) > 0 {
		<-woken.reached
	}
	next, events := one[string](t, pool, nextSQL), one[int64](t, pool, "SELECT count(*) FROM casq.events")
	t.Run("ours", func(t *testing.T) {
		for n := range polls {
			i := n % len(tokens)
			a := c.Request(tokens[i], told[i])
			if a.Status != http.StatusNoContent {
				t.Fatalf("got %s", a)
			}
			told[i] = a.Told()
		}
		if now := one[string](t, pool, nextSQL); now != next {
			t.Errorf("the next transaction that writes is %s, and was %s before", now, next)
		}
		if now := one[int64](t, pool, "SELECT count(*) FROM casq.events"); now != events {
			t.Errorf("%d events were appended", now-events)
		}
		if len(woken.reached) > 0 {
			t.Error("a request was woken")
		}
	})
	t.Run("twin/contacted now", func(t *testing.T) {
		exec(t, pool, "UPDATE casq.runners SET created_at = now()")
		if one[string](t, pool, nextSQL) == next {
			t.Error("nothing was written: the twin does not lose")
		}
	})
}
