package races

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"casq/internal/lease"

	"github.com/redis/go-redis/v9"
)

// r81Naive asks how long the lease lasts, in seconds.
var r81Naive = redis.NewScript(`
	if redis.call('TTL', KEYS[1]) > 0 then return 0 end
	redis.call('SET', KEYS[1], ARGV[1], 'EX', 60)
	return 1`)

// r81Left is what the lease has left.
const r81Left = 300 * time.Millisecond

// TestR81LastHalfSecond: a lease has 300 ms left, and a standby asks for it. TTL
// is in whole seconds, rounded: it says 0, and whoever takes that for the end
// has the lease while its holder has it, too. The standby has to be denied, and
// told how long the lease lasts.
func TestR81LastHalfSecond(t *testing.T) {
	t.Parallel()
	t.Run("twin/TTL in seconds", func(t *testing.T) {
		t.Parallel()
		r := newR81(t)
		var obtained int
		r.ask(t, func() {
			var err error
			if obtained, err = r81Naive.Run(t.Context(), r.site.client, []string{r.key}, "twin").Int(); err != nil {
				t.Fatal(err)
			}
		})
		if obtained != 1 {
			t.Error("the twin was denied; it should have obtained a lease that is held")
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR81(t)
		standby := lease.New(lease.Config{Client: r.site.client})
		var err error
		r.ask(t, func() {
			var held *lease.Lease
			if held, err = standby.Obtain(t.Context(), "race", slog.New(slog.DiscardHandler)); err == nil {
				_ = held.Release(t.Context())
			}
		})
		var denied *lease.HeldError
		if !errors.As(err, &denied) {
			t.Fatalf("obtained with %v, want it held", err)
		}
		if denied.Holder != r.holder.ID() || denied.ExpiresIn <= 0 || denied.ExpiresIn > r81Left {
			t.Errorf("held by %s for another %s, want %s for at most %s", denied.Holder, denied.ExpiresIn, r.holder.ID(), r81Left)
		}
	})
}

type r81 struct {
	site   *leaseSite
	holder *lease.Leaser
	key    string
}

func newR81(t *testing.T) *r81 {
	t.Helper()
	r := &r81{site: newLeaseSite(t)}
	r.holder = lease.New(lease.Config{Client: r.site.client, TTL: longLease})
	held, err := r.holder.Obtain(t.Context(), "race", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Release(context.Background()) })
	r.key = r.site.leaseKey(t)
	return r
}

// ask asks with 300 ms left; again, when the machine was so slow that the lease
// may have ended before.
func (r *r81) ask(t *testing.T, ask func()) {
	t.Helper()
	for range 100 {
		began := time.Now()
		if err := r.site.client.Set(t.Context(), r.key, r.holder.ID(), r81Left).Err(); err != nil {
			t.Fatal(err)
		}
		ask()
		if time.Since(began) < r81Left {
			return
		}
	}
	t.Skip("the machine is too slow to ask within 300 ms")
}
