package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"casq/internal/pause"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := pause.For(t.Context(), time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("returned %v after %s", err, time.Since(began))
		}
		reason := errors.New("reason")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, reason)
		defer cancel()
		began = time.Now()
		if err := pause.For(ctx, time.Hour); !errors.Is(err, reason) || time.Since(began) != time.Minute {
			t.Errorf("returned %v after %s", err, time.Since(began))
		}
	})
}

func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		began, calls := time.Now(), 0
		pause.Every(ctx, time.Minute, func() { calls++ })
		if calls != 3 || time.Since(began) != 150*time.Second {
			t.Errorf("%d calls in %s", calls, time.Since(began))
		}
	})
}
