package recount

import (
	"errors"
	"testing"
)

// finishing is a recount whose swap does something else at one of its points, once.
func finishing(t *testing.T, at string, other func(b *testBundle, f Finalize)) (b *testBundle, err error) {
	t.Helper()
	var f Finalize
	done := false
	b = setup(t, func(c *settings) {
		c.Hook = func(point string) {
			if point == at && !done {
				done = true
				other(b, f)
			}
		}
	})
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, 5)")
	b.Feed(t)
	scan, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"7"}})
	if err == nil {
		err = b.Scan(t.Context(), scan, 1, b.process)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, finalizes := b.queue.take()
	f = finalizes[0]
	err = b.Finalize(t.Context(), f, 2)
	return b, err
}

// A swap that another one has overtaken ends nothing, and asks for no further part.
func TestSwapThatWasOvertaken(t *testing.T) {
	t.Parallel()
	_, err := finishing(t, "finalize:swapped", func(b *testBundle, f Finalize) {
		if err := b.Finalize(t.Context(), f, 3); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, ErrSuperseded) {
		t.Errorf("it ended with %v", err)
	}
}

// The scan is made again after the last swap: that ends nothing.
func TestSwapOfARunThatIsOver(t *testing.T) {
	t.Parallel()
	b, err := finishing(t, "finalize:swapped", func(b *testBundle, _ Finalize) {
		b.Exec(t, "UPDATE casq.scans SET token = gen_random_uuid(), scanned_at = NULL")
	})
	if !errors.Is(err, ErrSuperseded) {
		t.Errorf("it ended with %v", err)
	}
	b.Exec(t, "DO $$ BEGIN ASSERT (SELECT finished_at IS NULL FROM casq.scans); END $$")
}

// Home fails over, or the table is tracked anew, just before the swap: what was seen
// of the log is of another one, and is counted again.
func TestVoidJustBeforeTheSwap(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"timeline": `INSERT INTO casq.timelines (timeline, system_identifier, server_timeline, began_tick, began_lsn)
			SELECT timeline + 1, system_identifier, server_timeline + 1, began_tick, began_lsn FROM casq.timelines ORDER BY timeline DESC LIMIT 1`,
		"tracking": "UPDATE casq.counter_kinds SET generation = generation + 1",
		"tick":     "UPDATE casq.ticks SET nonce = gen_random_uuid()",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := finishing(t, "finalize:locked", func(b *testBundle, _ Finalize) { b.Exec(t, sql) })
			if err != nil {
				t.Error(err)
			}
			if scans, _ := b.queue.take(); len(scans) != 1 {
				t.Errorf("%d scans were asked for, want one", len(scans))
			}
			b.Exec(t, "DO $$ BEGIN ASSERT (SELECT scanned_at IS NULL AND finished_at IS NULL FROM casq.scans); END $$")
		})
	}
}
