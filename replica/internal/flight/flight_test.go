package flight_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"casq/replica/internal/flight"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOneForAll: those who ask while a question is on its way share the next one, also when
// one of them gives up.
func TestOneForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, answer := 0, make(chan struct{})
		q := flight.New(t.Context(), "ask", func(context.Context) (int, error) {
			asked++
			n := asked
			<-answer
			return n, nil
		})
		var group sync.WaitGroup
		get := func(ctx context.Context, want int, gaveUp error) {
			group.Go(func() {
				if got, err := q.Get(ctx); got != want || !errors.Is(err, gaveUp) {
					t.Errorf("got %d, %v, want %d, %v", got, err, want, gaveUp)
				}
			})
		}
		get(t.Context(), 1, nil)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		get(ctx, 0, context.Canceled)
		for range 10 {
			get(t.Context(), 2, nil)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		answer <- struct{}{}
		answer <- struct{}{}
		group.Wait()
		q.Wait()
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
}
