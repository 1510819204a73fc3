package builds

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// group has requests of a coordinator be picked for together: while the first is, which gets
// nothing yet, the others come into line. Then the group of these is stopped where it begins.
type group struct {
	*runnertest.Coordinator
	first   <-chan runnertest.Answer
	answers []<-chan runnertest.Answer
	stop    *point
}

// newGroup returns a group of runners, in their order, and one before them.
func newGroup(t *testing.T, c *runnertest.Coordinator, stop *point, inLine <-chan struct{}, tokens ...string) *group {
	t.Helper()
	g := &group{Coordinator: c, stop: stop}
	for i, token := range tokens {
		answer := c.Ask(t.Context(), token, "")
		<-inLine
		if i == 0 {
			g.first = answer
			<-stop.reached
		} else {
			g.answers = append(g.answers, answer)
		}
	}
	stop.goOn <- struct{}{}
	<-stop.reached
	return g
}

// groupOptions are those of a coordinator that stops its first groups, with one slot: whoever
// comes meanwhile stands in line.
func groupOptions(stop *point, inLine chan struct{}) runner.Options {
	return runner.Options{Hold: 2 * time.Second, Recheck: time.Hour, Picks: 1, Hook: func(name string) {
		stop.hook(name)
		if name == "in line" {
			select {
			case inLine <- struct{}{}:
			default:
			}
		}
	}}
}

// TestR116Together: requests of several runners are picked for by one statement, in two
// processes at once; a runner is paused, gets another token, other tags or a limit while its
// group is about to begin; a client leaves then.
func TestR116Together(t *testing.T) {
	t.Parallel()
	t.Run("twin/two groups that read the same queue", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		for range 2 {
			runnertest.Enqueue(t, pool)
		}
		first, second := begin(t, pool), begin(t, pool)
		const heads = "SELECT array_agg(id) FROM (SELECT id FROM casq.builds WHERE status = 'pending' ORDER BY id LIMIT 2) AS b"
		if a, b := one[[]int64](t, first, heads), one[[]int64](t, second, heads); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("they are %v and %v: the twin does not lose", a, b)
		}
	})
	t.Run("ours/two groups at once", twoGroups)
	t.Run("twin/known when it came", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		token := runnertest.Runner(t, pool)
		id := one[int64](t, pool, "SELECT id FROM casq.runners WHERE token_hash = sha256($1::text::bytea)", token)
		runnertest.Enqueue(t, pool)
		exec(t, pool, "UPDATE casq.runners SET paused = true")
		exec(t, pool, `UPDATE casq.builds SET status = 'running', attempt = 1, runner_id = $1, token_hash = sha256('x'), assigned_at = now(), start_by = now()
			WHERE id = (`+nextSQL+`)`, id)
		if !one[bool](t, pool, "SELECT r.paused FROM casq.builds AS b JOIN casq.runners AS r ON r.id = b.runner_id") {
			t.Error("the paused runner has no build: the twin does not lose")
		}
	})
	t.Run("ours/runners that have changed", changedInGroup)
	t.Run("ours/a client that leaves", leftInGroup)
}

// twoGroups of fifteen runners are stopped where they begin, in two processes, and let go.
func twoGroups(t *testing.T) {
	t.Parallel()
	const each = 15
	pool := database(t)
	groups := make([]*group, 2)
	for i := range groups {
		stop, inLine := stopAt("grouped", 2), make(chan struct{}, 1)
		c := runnertest.New(t, pool, groupOptions(stop, inLine))
		tokens := make([]string, each+1)
		for n := range tokens {
			tokens[n] = runnertest.Runner(t, pool)
		}
		groups[i] = newGroup(t, c, stop, inLine, tokens...)
	}
	builds := make(map[int64]bool)
	for range 2 * (each + 1) { // the two before the groups are woken, too
		builds[runnertest.Enqueue(t, pool)] = true
	}
	for _, g := range groups {
		close(g.stop.goOn)
	}
	for _, g := range groups {
		for _, answer := range append(g.answers, g.first) {
			a := <-answer
			if !builds[a.Build()] {
				t.Errorf("got %s: no build, or one that another has", a)
			}
			delete(builds, a.Build())
		}
	}
	if len(builds) > 0 {
		t.Errorf("nobody has %v", builds)
	}
}

// changedInGroup has five runners in a group, four of which change before it picks. The fifth
// gets the only build, though it came last.
func changedInGroup(t *testing.T) {
	t.Parallel()
	pool := database(t)
	tokens := make([]string, 6)
	for i := range tokens {
		tokens[i] = runnertest.Runner(t, pool, "linux")
	}
	stop, inLine := stopAt("grouped", 2), make(chan struct{}, 1)
	g := newGroup(t, runnertest.New(t, pool, groupOptions(stop, inLine)), stop, inLine, tokens...)
	build := runnertest.Enqueue(t, pool, "linux")
	exec(t, pool, "UPDATE casq.runners SET paused = true WHERE token_hash = sha256($1::text::bytea)", tokens[1])
	exec(t, pool, "SELECT casq.reset_runner_token(id) FROM casq.runners WHERE token_hash = sha256($1::text::bytea)", tokens[2])
	exec(t, pool, "UPDATE casq.runners SET tags = '{windows}' WHERE token_hash = sha256($1::text::bytea)", tokens[3])
	held := begin(t, pool) // somebody is about to reset the fourth, and does not commit
	exec(t, held, "SELECT casq.reset_runner_token(id) FROM casq.runners WHERE token_hash = sha256($1::text::bytea)", tokens[4])
	close(stop.goOn)
	if a := <-g.answers[4]; a.Build() != build {
		t.Errorf("the last got %s, want build %d", a, build)
	}
	must(t, held.Rollback(t.Context()))
	for i, want := range []int{http.StatusNoContent, http.StatusForbidden, http.StatusNoContent, http.StatusNoContent} {
		if a := <-g.answers[i]; a.Status != want {
			t.Errorf("runner %d of the group got %s, want %d", i+1, a, want)
		}
	}
}

// leftInGroup has the client of the first of a group go while it is picked for. Its build is
// the next one's at once.
func leftInGroup(t *testing.T) {
	t.Parallel()
	pool := database(t)
	picked := stopAt("grouped", 1)
	inLine := make(chan struct{}, 1)
	c := runnertest.New(t, pool, groupOptions(picked, inLine))
	build := runnertest.Enqueue(t, pool)
	ctx, hangUp := context.WithCancel(t.Context())
	gone := c.Ask(ctx, runnertest.Runner(t, pool), "")
	<-picked.reached
	hangUp()
	<-gone
	<-c.HungUp
	close(picked.goOn)
	if a := c.Request(runnertest.Runner(t, pool), ""); a.Build() != build {
		t.Errorf("got %s, want build %d", a, build)
	}
}
