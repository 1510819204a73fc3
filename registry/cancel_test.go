package registry_test

import (
	"context"
	"errors"
	"testing"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// unheard is a queue whose notice of a cancellation reaches nobody.
type unheard struct{}

func (unheard) Cancel(context.Context, pgx.Tx, registry.Token, int64) (int, error) { return 1, nil }

func (b *testBundle) cancel(t *testing.T, key string) {
	t.Helper()
	if _, err := registry.Cancel(t.Context(), b.Pool, unheard{}, kind, key, registry.CancelOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A job of a cancelled version may be on its way to its claim, or come back from a
// worker that died: it neither begins a run nor asks for one.
func TestACancelledVersionIsNotBegun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "k")
	refused := func(when string) {
		t.Helper()
		if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, registry.ErrSuperseded) {
			t.Errorf("%s: got %v, want %v", when, err, registry.ErrSuperseded)
		}
	}
	c := claim(t, r, token)
	b.cancel(t, "k")
	refused("while its run goes on")
	if _, err := r.Fail(c, context.Canceled, nil); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t)
	refused("after its run")
	if got := b.Row(t, "k"); got.Status != "failed" || got.Claim != nil || got.Asked || !is(got.LastError, registry.ErrCancelled.Error()) {
		t.Errorf("got %+v", got)
	}

	token = b.Update(t, 2, "k")
	c = claim(t, r, token)
	b.cancel(t, "k")
	if err := r.Release(c); err != nil { // its worker stops
		t.Fatal(err)
	}
	refused("after its worker's end")
	b.Apply(t, event(3, eventlog.Updated, "k", "{}"))
	claim(t, r, b.TakeJobs(t)[1].Token)
}
