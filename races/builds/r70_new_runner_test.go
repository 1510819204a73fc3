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

// TestR70NewRunner: a runner was created, or its token reset, a moment ago, and the
// standbys are late. It is verified, its first request gets a build, and the token before
// gets 403.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR70NewRunner(t *testing.T) {
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	primary, standby := testdb.Pool(t, cluster.URL()), testdb.Pool(t, cluster.StandbyURL(0))
	runnertest.Ticks(t, primary)
	c := runnertest.New(t, primary, runner.Options{Standbys: []*pgxpool.Pool{standby}, Hold: 10 * time.Second})
	old := runnertest.Runner(t, primary)
	known := make(chan runnertest.Answer, 1)
	go func() { known <- c.Request(old, "") }()
	first := runnertest.Enqueue(t, primary)
	if a := <-known; a.Build() != first {
		t.Fatalf("got %s", a)
	}
	exec(t, testdb.Pool(t, cluster.Standbys[0].URL(cluster.Database)), "SELECT pg_wal_replay_pause()")
	await(t, func() bool { return one[string](t, standby, "SELECT pg_get_wal_replay_pause_state()") == "paused" })
	builds := []int64{runnertest.Enqueue(t, primary), runnertest.Enqueue(t, primary)}
	created := runnertest.Runner(t, primary)
	reset := one[string](t, primary, "SELECT casq.reset_runner_token(min(id)) FROM casq.runners")

	t.Run("twin/looked for at a standby", func(t *testing.T) {
		if one[bool](t, standby, "SELECT EXISTS (SELECT FROM casq.runners WHERE token_hash = sha256(convert_to($1, 'UTF8')))", created) {
			t.Error("the standby has it: the twin does not lose")
		}
	})
	t.Run("ours", func(t *testing.T) {
		for i, token := range []string{created, reset} {
			verified := c.Do(http.MethodPost, "/api/v4/runners/verify", runnertest.Body{"token": token, "system_id": "s_new"})
			if verified.Status != http.StatusOK || verified.Token() != token {
				t.Errorf("verify: %s", verified)
			}
			if a := c.Request(token, ""); a.Build() != builds[i] {
				t.Errorf("got %s, want build %d", a, builds[i])
			}
		}
		// This process has known it by that token, and has perhaps not read of the change.
		runnertest.Enqueue(t, primary)
		if a := c.Request(old, ""); a.Status != http.StatusForbidden {
			t.Errorf("the token before: %s", a)
		}
		if a := c.Do(http.MethodPost, "/api/v4/runners/verify", runnertest.Body{"token": old}); a.Status != http.StatusForbidden {
			t.Errorf("the token before, verified: %s", a)
		}
	})
}
