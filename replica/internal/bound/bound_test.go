package bound_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"casq/replica/internal/bound"
)

type key struct{}

// TestContext: whenever it is asked for, a context ends after patience at the soonest,
// and after one and a half at the latest.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bound.New(100 * time.Millisecond)
		parent := context.WithValue(t.Context(), key{}, "value")
		for range 20 {
			began := time.Now()
			ctx := b.Context(parent)
			if again := b.Context(parent); again.Done() != ctx.Done() {
				t.Error("two that are asked for at once have two timers")
			}
			if ctx.Err() != nil || ctx.Value(key{}) != "value" {
				t.Errorf("a new context: %v, with %v", ctx.Err(), ctx.Value(key{}))
			}
			at, _ := ctx.Deadline()
			<-ctx.Done()
			took := time.Since(began)
			if took < 100*time.Millisecond || took > 150*time.Millisecond || at.Sub(began) != took {
				t.Errorf("ended after %s, by its deadline after %s", took, at.Sub(began))
			}
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("ended with %v", ctx.Err())
			}
			b.Context(parent) // The next one is asked for some time after this.
			<-time.After(37 * time.Millisecond)
		}
	})
}

func TestParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bound.New(100 * time.Millisecond)
		parent, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		want, _ := parent.Deadline()
		if at, set := b.Context(parent).Deadline(); !set || at != want {
			t.Errorf("the deadline is %s, the parent's %s", at, want)
		}
		cancel()
		if err := b.Context(parent).Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("of a parent that has ended: %v", err)
		}
	})
}
