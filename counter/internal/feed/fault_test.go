package feed_test

import (
	"maps"
	"testing"

	"casq/counter/internal/buffer"
	"casq/counter/internal/countertest"
)

// Each durable step of the counters fails, or is done and nobody hears of it. It is
// done again, and then every counter is what its table says: nothing is lost, and
// nothing counts twice.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, point, text string }{
		{"add to what is pending", "feed:read", buffer.ApplyScript.Hash()},
		{"freeze", "begin", buffer.FreezeScript.Hash()},
		{"flush", "flush:locked", "commit"},
		{"drop what was flushed", "flush:committed", buffer.DropScript.Hash()},
		{"read", "begin", buffer.ReadScript.Hash()},
		{"empty a shard", "wiped", buffer.ResetScript.Hash()},
		{"write without redis", "without", "commit"},
	} {
		for name, answer := range map[string]bool{"failed": false, "failed, but persisted": true} {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				f := &countertest.Fault{Point: test.point, Text: test.text, Answer: answer}
				b := countertest.New(t, func(s *countertest.Settings) { s.Hook = f.At })
				f.Connect(t, b)
				play(t, b, f)
				f.WasLost(t)
			})
		}
	}
}

// play is all that there is, with a fault in one step. Whoever fails, tries
// again.
func play(t *testing.T, b *countertest.Bundle, f *countertest.Fault) {
	t.Helper()
	feed := func(buffered bool) {
		t.Helper()
		b.Tick(t)
		countertest.Again(t, func() error { return b.TryFeed(t.Context(), buffered) })
	}
	flush := func() {
		t.Helper()
		countertest.Again(t, func() error { _, err := b.Flush(t.Context()); return err })
	}
	b.Exec(t, "INSERT INTO artifacts SELECT n, n % 7, n FROM generate_series(1, 50) AS n")
	f.At("begin")
	feed(true)
	flush()
	b.Exec(t, "DELETE FROM artifacts WHERE id < 10")
	feed(true)
	b.Wipe(t)
	f.At("wiped")
	feed(true)
	b.Exec(t, "UPDATE artifacts SET size = size + 1")
	f.At("without")
	feed(false)
	b.Exec(t, "INSERT INTO artifacts VALUES (1000, 1, 10)")
	feed(true)
	flush()
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}
