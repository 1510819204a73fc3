package reconcile

import (
	"testing"
	"time"

	"casq/registry"
)

// What was never compared is to be, wherever that is looked for.
func TestWhatWasNeverComparedIsOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	if err := r.Publish(claim(t, r, b.Create(t, 1, "x")), registry.Result{Partial: true}, nil); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var flags []int32
	err := b.Pool.QueryRow(t.Context(), "SELECT flags FROM ("+rowsSQL.Rows+") AS page (keys, versions, flags, payloads)", kind, "", 10, nil, nil, now, now, now, false).Scan(&flags)
	if err != nil || len(flags) != 1 || flags[0]&8 == 0 {
		t.Errorf("rows: %v, %v", flags, err)
	}
	var key string
	var version int64
	var since bool
	if err := b.Pool.QueryRow(t.Context(), walkSQL.Synced, kind, "", nil, now, 10).Scan(&key, &version, &since); err != nil || !since {
		t.Errorf("synced: %v, %v", since, err)
	}
	var what string
	if err := b.Pool.QueryRow(t.Context(), walkSQL.Placed, kind, []string{"x"}, []bool{true}, now).Scan(&key, &version, &what); err != nil || what != "check" {
		t.Errorf("placed: %q, %v", what, err)
	}
}
