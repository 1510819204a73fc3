package registry

import (
	"context"
	"errors"
	"testing"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// unheard is a queue whose notice of a cancellation reaches nobody.
type unheard struct{}

func (unheard) Cancel(context.Context, pgx.Tx, Token, int64) (int, error) { return 1, nil }

func (b *testBundle) cancel(t *testing.T, key string) {
	t.Helper()
	if _, err := Cancel(t.Context(), b.pool, unheard{}, kind, key, CancelOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A job of a cancelled version may be on its way to its claim, or come back from a
// worker that died: it neither begins a run nor asks for one.
func TestACancelledVersionIsNotBegun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.create(t, 1, "k")
	refused := func(when string) {
		t.Helper()
		if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, ErrSuperseded) {
			t.Errorf("%s: got %v, want %v", when, err, ErrSuperseded)
		}
	}
	c := claim(t, r, token)
	b.cancel(t, "k")
	refused("while its run goes on")
	if _, err := r.Fail(c, context.Canceled, nil); err != nil {
		t.Fatal(err)
	}
	b.wantJobs(t)
	refused("after its run")
	if got := b.row(t, "k"); got.Status != "failed" || got.Claim != nil || got.Asked || !is(got.LastError, ErrCancelled.Error()) {
		t.Errorf("got %+v", got)
	}

	token = b.update(t, 2, "k")
	c = claim(t, r, token)
	b.cancel(t, "k")
	if err := r.Release(c); err != nil { // its worker stops
		t.Fatal(err)
	}
	refused("after its worker's end")
	b.apply(t, event(3, eventlog.Updated, "k", "{}"))
	claim(t, r, b.takeJobs(t)[1].Token)
}
