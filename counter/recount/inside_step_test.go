package recount

import (
	"testing"

	"casq/counter/internal/buffer"
	"casq/counter/internal/countertest"
	"casq/counter/internal/shards"

	"github.com/jackc/pgx/v5"
)

// Under load a shard is hardly ever between two steps: the swap has to be right
// where it is.
func TestSwapInsideAStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.use(func(s *settings) { s.PageSize = 5 })
	b.Exec(t, "INSERT INTO artifacts SELECT n, 1, 10 FROM generate_series(1, 3) AS n")
	b.Feed(t)
	b.FlushAll(t)
	b.Exec(t, "UPDATE casq.counters SET size = 5, items = 7")
	if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"1"}}); err != nil {
		t.Fatal(err)
	}
	scans, _ := b.queue.take()
	if err := b.Scan(t.Context(), scans[0], 1, b.process); err != nil {
		t.Fatal(err)
	}
	_, finalizes := b.queue.take()

	buf, n := b.Open(t)
	shard := countertest.ShardOf("1", n)
	f := b.Feeds.NewFeeder(buf, n, shard)
	round := func() (more bool) {
		more, err := f.Round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return more
	}
	b.Tick(t)
	for round() && b.standsInStep(t, buf, shard) { // past the scan's tick
		continue
	}
	b.Exec(t, "INSERT INTO artifacts SELECT n, 1, n FROM generate_series(101, 112) AS n")
	b.Tick(t)
	round()
	round()
	b.FlushAll(t)
	run := &finalizing{r: b.Recounts, id: finalizes[0].Scan, token: finalizes[0].Token}
	err := run.load(t.Context())
	if err == nil {
		err = run.sumEarly(t.Context())
	}
	if err == nil {
		err = pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error { return run.swap(t.Context(), tx, []int{shard}) })
	}
	if err != nil {
		t.Fatal(err)
	}
	at, err := shards.Positions(t.Context(), b.Pool)
	if err != nil {
		t.Fatal(err)
	}
	if v := b.Flushed(t)["1"]; !at[shard].InStep() || v != (pair{1085, 13}) {
		t.Errorf("%v at %s; want 1085 bytes and 13 items, inside of a step", v, at[shard])
	}
	b.Feed(t)
	b.FlushAll(t)
	if got, want := b.Flushed(t)["1"], b.Real(t)["1"]; got != want {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// standsInStep tells whether a shard in Redis is inside of a step.
func (b *testBundle) standsInStep(t *testing.T, buf *buffer.Buffer, shard int) bool {
	t.Helper()
	s, err := buf.Read(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.Head.Position()
	if err != nil {
		t.Fatal(err)
	}
	return at.InStep()
}
