package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR62OtherCauses: not a new build, but a change of the runner, the project or another
// build gives a runner that waits something to do. It is woken.
func TestR62OtherCauses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct{ before, after string }{
		"it is unpaused":         {"UPDATE casq.runners SET paused = true", "UPDATE casq.runners SET paused = false"},
		"it gets the tag":        {"UPDATE casq.runners SET tags = '{}', run_untagged = true", "UPDATE casq.runners SET tags = '{linux}'"},
		"it gets the project":    {"UPDATE casq.runners SET projects = '{8}'", "UPDATE casq.runners SET projects = '{7,8}'"},
		"the project gets room":  {"UPDATE casq.projects SET max_running = 0; UPDATE casq.builds SET held = true", "UPDATE casq.projects SET max_running = 1"},
		"a build is tried again": {"UPDATE casq.builds SET status = 'canceled'", "SELECT casq.retry_build(id) FROM casq.builds"},
		"its limit has room": {
			"UPDATE casq.runners SET max_running = 1; SELECT casq.add_build(casq.begin_pipeline(7), 'other', '{\"steps\":[{\"script\":[\"true\"]}]}', tags => '{linux}', priority => 1)",
			"SELECT casq.cancel_build(id) FROM casq.builds WHERE status = 'running'",
		},
	} {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			pool := database(t)
			in := make(entered, 10)
			c := runnertest.New(t, pool, runner.Options{Recheck: time.Hour, Hook: in.hook})
			runnertest.Ticks(t, pool)
			token := runnertest.Runner(t, pool, "linux")
			build := runnertest.Enqueue(t, pool, "linux")
			exec(t, pool, change.before)
			if name == "its limit has room" {
				if a := c.Request(token, ""); a.Build() == 0 || a.Build() == build {
					t.Fatalf("got %s, want the other build", a)
				}
				<-in
			}
			got := c.Ask(t.Context(), token, "")
			<-in
			exec(t, pool, change.after)
			a := <-got
			if a.Status == http.StatusNoContent { // it takes something else by now, and asks anew
				a = c.Request(token, a.Told())
			}
			if a.Build() != build {
				t.Fatalf("got %s, want build %d", a, build)
			}
		})
	}
	t.Run("twin/new builds wake", func(t *testing.T) {
		t.Parallel()
		b := newBell(database(t))
		runnertest.Runner(t, b.pool)
		runnertest.Enqueue(t, b.pool)
		exec(t, b.pool, "UPDATE casq.runners SET paused = true")
		got := b.request(t.Context(), t)
		<-b.in
		exec(t, b.pool, "UPDATE casq.runners SET paused = false") // which is no new build
		b.lost(t, got)
	})
}
