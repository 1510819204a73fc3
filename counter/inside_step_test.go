package counter

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// Under load a shard is hardly ever between two steps: the swap has to be right
// where it is.
func TestSwapInsideAStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cfg.PageSize = 5
	b.exec(t, "INSERT INTO artifacts SELECT n, 1, 10 FROM generate_series(1, 3) AS n")
	b.feed(t)
	b.flush(t)
	b.exec(t, "UPDATE casq.counters SET size = 5, items = 7")
	if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"1"}}); err != nil {
		t.Fatal(err)
	}
	scans, _ := b.queue.take()
	if err := b.Scan(t.Context(), scans[0], 1, b.process); err != nil {
		t.Fatal(err)
	}
	_, finalizes := b.queue.take()

	shard := shardOf(Key{"artifact", "1"}, b.n)
	f := b.newFeeder(b.buf, b.n, shard)
	round := func() (more bool) {
		more, err := f.round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return more
	}
	b.tick(t)
	for round() && f.stored[shard].InStep() { // past the scan's tick
		continue
	}
	b.exec(t, "INSERT INTO artifacts SELECT n, 1, n FROM generate_series(101, 112) AS n")
	b.tick(t)
	round()
	round()
	b.flush(t)
	run := &finalizing{Counters: b.Counters, id: finalizes[0].Scan, token: finalizes[0].Token}
	err := run.load(t.Context())
	if err == nil {
		err = run.sumEarly(t.Context())
	}
	if err == nil {
		err = pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error { return run.swap(t.Context(), tx, []int{shard}) })
	}
	if err != nil {
		t.Fatal(err)
	}
	if v, err := b.flushed(t.Context(), Key{"artifact", "1"}, shard); err != nil || !v.AsOf.InStep() || v.Items != 13 || v.Size.Int64() != 1085 {
		t.Errorf("%s bytes and %d items at %s, %v; want 1085 and 13, inside of a step", v.Size, v.Items, v.AsOf, err)
	}
	b.feed(t)
	b.flush(t)
	if got, want := b.flushedValues(t)["1"], b.real(t)["1"]; got != want {
		t.Errorf("flushed %v, want %v", got, want)
	}
}
