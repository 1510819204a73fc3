package builds

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/runnertest"
	"casq/runner"
)

// TestR112StarvedSibling: one runner process with one request at a time has two tokens. A
// is parked, and a build for B comes. It is picked within 5 s.
func TestR112StarvedSibling(t *testing.T) {
	t.Parallel()
	for name, siblings := range map[string]time.Duration{"ours": 3 * time.Second, "twin/held for long": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := database(t)
			in := make(entered, 100)
			runnertest.Ticks(t, pool)
			c := runnertest.New(t, pool, runner.Options{SiblingHold: siblings, Hook: in.hook})
			a, b := runnertest.Runner(t, pool, "a"), runnertest.Runner(t, pool, "b")
			ctx, cancel := context.WithCancel(t.Context())
			picked := make(chan int64, 1)
			go func() { // the process: one after the other
				for ctx.Err() == nil {
					for _, token := range []string{a, b} {
						got, err := c.Call(ctx, http.MethodPost, "/api/v4/jobs/request", runnertest.Body{"token": token, "system_id": "s_one"})
						if err == nil && got.Build() != 0 {
							picked <- got.Build()
						}
					}
				}
				close(picked)
			}()
			<-in // A is parked
			build := runnertest.Enqueue(t, pool, "b")
			deadline, stop := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("5 s are over"))
			defer stop()
			var got int64
			select {
			case got = <-picked:
			case <-deadline.Done():
			}
			cancel()
			for range picked {
			}
			if ours := name == "ours"; (got == build) != ours {
				t.Errorf("got build %d within 5 s, it is %d", got, build)
			}
		})
	}
}
