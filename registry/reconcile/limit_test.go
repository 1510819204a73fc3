package reconcile

import (
	"testing"

	"casq/eventlog"
	"casq/registry"
)

// many is a site with rows of which the source has the last few.
func many(t *testing.T, rows, there int) *refetchBundle {
	t.Helper()
	b := setupRefetch(t)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
		SELECT $1, to_char(i, 'FM0000'), 1, i, 0, jsonb_build_object('v', i) FROM generate_series(1, $2::int) AS i`, kind, rows)
	b.Exec(t, "INSERT INTO resources SELECT to_char(i, 'FM0000'), i FROM generate_series($1::int + 1, $2::int) AS i", rows-there, rows)
	b.Exec(t, "INSERT INTO resources VALUES ('x', 1), ('y', 1)")
	b.tick(t)
	b.follow(t)
	return b
}

// A comparison that would remove most of a kind removes nothing of it.
func TestReconcileIsHeldBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rows, there int
		allow       int64
		want        string
	}{
		"most":               {150, 30, 0, "resource: created 2 held_back 120"},
		"an empty table":     {150, 0, 0, "resource: created 2 held_back 150"},
		"too few allowed":    {150, 30, 119, "resource: created 2 held_back 120"},
		"allowed":            {150, 30, 120, "resource: created 2 removed 120"},
		"most of a few":      {100, 0, 0, "resource: created 2 removed 100"},
		"less than the half": {300, 152, 0, "resource: created 2 removed 148"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := many(t, test.rows, test.there)
			size := func(c *Config) { c.PageSize = 40 }
			if got := b.reconcile(t, registry.Request{DryRun: true, AllowRemove: test.allow}, size); got != test.want {
				t.Errorf("dry: got %q, want %q", got, test.want)
			}
			if got := b.reconcile(t, registry.Request{AllowRemove: test.allow}, size); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	b := many(t, 150, 30)
	b.know(t, "tombstone", 1, 1, true)
	got, err := Overlaps(t.Context(), b.Pool, b.Pool)
	if err != nil || len(got) != 1 || got[0] != (Overlap{Kind: kind, Here: 150, There: 32, Common: 30}) || got[0].Gone() != 120 {
		t.Errorf("%+v: %v", got, err)
	}
	simple(t, b.Pool, `SELECT casq.untrack('resources')`)
	got, err = Overlaps(t.Context(), b.Pool, b.Pool)
	if err != nil || got[0] != (Overlap{Kind: kind, Unlisted: true, Here: 150}) || got[0].Gone() != 0 {
		t.Errorf("%+v: %v", got, err)
	}
}

// What an operator has allowed is asked for with what he has asked for.
func TestRewoundAllowsRemovals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Transposer.AllowRemove = 7
	b.Rewound(t, eventlog.Rewind{To: at(2, 60), Newest: at(2, 60), Everything: true})
	var got int64
	if err := b.Pool.QueryRow(t.Context(), "SELECT allow_remove FROM casq.reconcile_runs").Scan(&got); err != nil || got != 7 {
		t.Errorf("%d are allowed: %v", got, err)
	}
}
