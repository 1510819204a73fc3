package builds

import (
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR115StopWhileWaiting: a build commits while a process stops in which a request
// waits. The request is answered with what its runner knew before, and the next process
// hands the build out.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR115StopWhileWaiting(t *testing.T) {
	t.Parallel()
	pool := database(t)
	runnertest.Tick(t, pool)
	waiting, woken := stopAt("waiting", 10), stopAt("woken", 1)
	close(waiting.goOn)
	options := runner.Options{Hold: 2 * time.Second, Recheck: time.Hour}
	next := runnertest.New(t, pool, options)
	options.Hook = func(point string) {
		waiting.hook(point)
		woken.hook(point)
	}
	first := runnertest.New(t, pool, options)
	token := runnertest.Runner(t, pool, "linux")
	waits := first.Ask(t.Context(), token, "")
	<-waiting.reached
	build := runnertest.Enqueue(t, pool, "linux")
	runnertest.Tick(t, pool)
	<-woken.reached
	first.Stop()
	close(woken.goOn)
	a := <-waits
	if a.Status != http.StatusNoContent {
		t.Fatalf("got %s", a)
	}
	if again := first.Request(token, a.Told()); again.Status != http.StatusNoContent || again.Told() != a.Told() {
		t.Fatalf("after the stop: %s, want to be told %q as before", again, a.Told())
	}
	t.Run("twin/told the newest", func(t *testing.T) {
		if a := next.Request(token, next.Newest()); a.Build() != 0 {
			t.Errorf("got %s: the twin does not lose", a)
		}
	})
	t.Run("ours", func(t *testing.T) {
		if a := next.Request(token, a.Told()); a.Build() != build {
			t.Fatalf("got %s, want build %d", a, build)
		}
	})
}
