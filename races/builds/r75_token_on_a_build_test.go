package builds

import (
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR75TokenOnABuild: ten builds, and one runner, which keeps the last update of every
// answer. It gets a build and asks again: it gets the second at once, and so on.
func TestR75TokenOnABuild(t *testing.T) {
	t.Parallel()
	const builds = 10
	site := func(t *testing.T, hold time.Duration) (c *runnertest.Coordinator, token string) {
		t.Helper()
		pool := database(t)
		runnertest.Tick(t, pool)
		c = runnertest.New(t, pool, runner.Options{Hold: hold, Recheck: time.Hour})
		for range builds {
			runnertest.Enqueue(t, pool)
		}
		runnertest.Tick(t, pool)
		return c, runnertest.Runner(t, pool)
	}
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		c, token := site(t, 20*time.Second)
		told := ""
		for i := range builds {
			a := c.Request(token, told)
			if a.Build() == 0 {
				t.Fatalf("request %d got %s", i, a)
			}
			if _, there := a.Header["X-Gitlab-Last-Update"]; there {
				told = a.Told()
				t.Errorf("build %d came with a last update", i)
			}
			if _, there := c.Put(a.Build(), a.Token(), "running").Header["X-Gitlab-Last-Update"]; there {
				t.Error("the answer to a PUT has a last update")
			}
		}
	})
	t.Run("twin/the newest with each answer", func(t *testing.T) {
		t.Parallel()
		c, token := site(t, 500*time.Millisecond)
		first := c.Request(token, "")
		if first.Build() == 0 {
			t.Fatalf("got %s", first)
		}
		if a := c.Request(token, c.Newest()); a.Build() != 0 {
			t.Errorf("got %s: the twin does not lose", a)
		}
	})
}
