package builds

import (
	"context"
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR63OneBuild: fifty runners ask at once, in two processes, for one build. One gets
// it, the others go on waiting, and nobody gets an error.
func TestR63OneBuild(t *testing.T) {
	t.Parallel()
	const runners = 50
	t.Run("twin/found, then taken", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		runnertest.Enqueue(t, pool)
		first, second := one[int64](t, pool, headSQL), one[int64](t, pool, headSQL)
		for _, id := range []int64{first, second} {
			if one[int64](t, pool, "UPDATE casq.builds SET priority = priority + 1 WHERE id = $1 RETURNING id", id) != id {
				t.Error("the second did not get it: the twin does not lose")
			}
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		in := make(entered, 2*runners)
		options := runner.Options{Hold: 3 * time.Second, Hook: in.hook, Recheck: time.Hour}
		processes := []*runnertest.Coordinator{runnertest.New(t, pool, options), runnertest.New(t, pool, options)}
		runnertest.Ticks(t, pool)
		answers := make([]<-chan runnertest.Answer, runners)
		for i := range answers {
			answers[i] = processes[i%2].Ask(t.Context(), runnertest.Runner(t, pool), "")
		}
		for range answers {
			<-in
		}
		build := runnertest.Enqueue(t, pool)
		got := 0
		for _, answer := range answers {
			switch a := <-answer; {
			case a.Build() == build:
				got++
			case a.Status != http.StatusNoContent:
				t.Errorf("got %s", a)
			}
		}
		if got != 1 {
			t.Errorf("%d runners got it", got)
		}
	})
	t.Run("ours/all ask when it is there", func(t *testing.T) {
		t.Parallel()
		pool := database(t)
		c := runnertest.New(t, pool, runner.Options{Hold: time.Second})
		build := runnertest.Enqueue(t, pool)
		answers := make([]<-chan runnertest.Answer, runners)
		for i := range answers {
			answers[i] = c.Ask(context.WithoutCancel(t.Context()), runnertest.Runner(t, pool), "")
		}
		got := 0
		for _, answer := range answers {
			if a := <-answer; a.Build() == build {
				got++
			}
		}
		if got != 1 {
			t.Errorf("%d runners got it", got)
		}
	})
}
