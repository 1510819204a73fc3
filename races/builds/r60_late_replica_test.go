package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR60LateReplica: a build is committed, the runner is told that there is news, the
// standby is late. It gets the build at once, and is never told "nothing new" with a
// token that covers the build.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR60LateReplica(t *testing.T) {
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	primary, standby := testdb.Pool(t, cluster.URL()), testdb.Pool(t, cluster.StandbyURL(0))
	token := runnertest.Runner(t, primary, "linux")
	replay := func(on bool) {
		if on {
			exec(t, testdb.Pool(t, cluster.Standbys[0].URL(cluster.Database)), "SELECT pg_wal_replay_resume()")
			return
		}
		exec(t, testdb.Pool(t, cluster.Standbys[0].URL(cluster.Database)), "SELECT pg_wal_replay_pause()")
		await(t, func() bool { return one[string](t, standby, "SELECT pg_get_wal_replay_pause_state()") == "paused" })
	}
	runnertest.Tick(t, primary)

	t.Run("twin/the newest key after a look at any standby", func(t *testing.T) {
		n := &naive{key: "one", host: standby}
		replay(false)
		runnertest.Enqueue(t, primary, "linux")
		n.key = "two"
		build, told := n.request(t, "one")
		if build {
			t.Fatal("the standby is not late")
		}
		replay(true)
		catchUp(t, primary, standby)
		if build, _ := n.request(t, told); build {
			t.Error("it was picked: the twin does not lose")
		}
	})
	t.Run("twin/the newest key after a look at any standby/wins", func(t *testing.T) {
		n := &naive{key: "three", host: standby}
		if build, _ := n.request(t, "two"); !build {
			t.Error("it was not picked, though the standby is not late")
		}
	})
	exec(t, primary, "DELETE FROM casq.builds")
	runnertest.Tick(t, primary)
	catchUp(t, primary, standby)
	for name, options := range map[string]runner.Options{
		"ours":                       {},
		"ours/RUNNER_READS=primary":  {ReadPrimary: true},
		"ours/RUNNER_SHORTCUT=off":   {NoShortcut: true},
		"ours/both switches at once": {ReadPrimary: true, NoShortcut: true},
	} {
		t.Run(name, func(t *testing.T) {
			options.Hold, options.Standbys = 500*time.Millisecond, []*pgxpool.Pool{standby}
			c := runnertest.New(t, primary, options)
			told := c.Request(token, "")
			for told.Status == http.StatusNoContent && told.Told() == "" { // it has not read the log yet
				told = c.Request(token, "")
			}
			replay(false)
			defer replay(true)
			build := runnertest.Enqueue(t, primary, "linux")
			runnertest.Tick(t, primary)
			// Another process begins now: the tick that has the build is the first that it knows.
			other := runnertest.New(t, primary, options)
			nobodys := runnertest.Runner(t, primary, "windows")
			for range 3 {
				if a := other.Request(nobodys, ""); a.Build() != 0 {
					t.Fatalf("a runner without the tag got %s", a)
				}
			}
			a := other.Request(token, told.Told())
			if a.Build() != build {
				t.Fatalf("got %s, want build %d", a, build)
			}
			a = c.Request(token, told.Told())
			if a.Status != http.StatusNoContent {
				t.Fatalf("got %s, and there is no other build", a)
			}
		})
	}
}

// catchUp waits until the standby shows all that the primary has now.
func catchUp(t testing.TB, primary, standby *pgxpool.Pool) {
	t.Helper()
	lsn := one[string](t, primary, "SELECT pg_current_wal_insert_lsn()::text")
	for !one[bool](t, standby, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn) {
		if t.Context().Err() != nil {
			t.Fatal("the standby does not catch up")
		}
	}
}
