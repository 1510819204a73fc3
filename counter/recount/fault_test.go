package recount

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/counter/internal/countertest"
)

// faulty is a recount of which one step fails, or is done with its answer lost.
type faulty struct {
	*testBundle
	countertest.Fault
	inParts bool // the recount goes on in parts
}

// Each durable step of a recount fails, or is done and nobody hears of it. It is done
// again, and then every counter is what its table says: nothing is lost, and nothing
// counts twice. Those of the counters are in the feed's tests.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, point string }{
		{"ask for a recount", "asking"},
		{"start a scan", "scanning"},
		{"end a scan", "scan:summed"},
		{"swap", "finalize:locked"},
		{"end a recount", "finalize:swapped"},
		{"count in parts", "scan:slow"},
		{"end a part", "finalize:swapped"},
	} {
		for name, answer := range map[string]bool{"failed": false, "failed, but persisted": true} {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				f := &faulty{Fault: countertest.Fault{Point: test.point, Text: "commit", Answer: answer}}
				f.inParts = strings.HasSuffix(test.name, "part") || strings.HasSuffix(test.name, "parts")
				f.testBundle = setup(t, func(c *settings) { c.Hook = f.At })
				f.Connect(t, f.Bundle)
				f.use()
				f.patience = 0
				f.play(t)
				f.WasLost(t)
			})
		}
	}
}

// play is all that there is, with a fault in one step. Whoever fails, tries
// again.
func (f *faulty) play(t *testing.T) {
	f.Exec(t, "INSERT INTO artifacts SELECT n, n % 7, n FROM generate_series(1, 50) AS n")
	f.feeds(t)
	f.Exec(t, "UPDATE casq.counters SET size = size + 1")
	f.At("asking")
	f.again(t, func() error {
		_, _, err := f.Refresh(t.Context(), Request{Kind: "artifact", All: true})
		return err
	})
	f.At("scanning")
	if f.inParts {
		f.divides(t)
	}
	f.works(t)
	f.Exec(t, "INSERT INTO artifacts VALUES (1000, 1, 10)")
	for len(f.queue.scans)+len(f.queue.finalizes) > 0 { // what was asked for twice waits its turn
		f.works(t)
	}
	f.feeds(t)
	if got, want := f.Flushed(t), f.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
	var states []string
	err := f.Pool.QueryRow(t.Context(), "SELECT array_agg(DISTINCT state) FROM casq.refreshes").Scan(&states)
	if err != nil || !slices.Equal(states, []string{"done"}) {
		t.Errorf("recounts are %v, %v, want done", states, err)
	}
}

// feeds brings Postgres to a new tick.
func (f *faulty) feeds(t *testing.T) {
	t.Helper()
	f.Tick(t)
	f.again(t, func() error { return f.TryFeed(t.Context(), true) })
	f.again(t, func() error { _, err := f.Flush(t.Context()); return err })
}

// divides is the first scan, which takes too long.
func (f *faulty) divides(t *testing.T) {
	t.Helper()
	f.since = func(time.Time) time.Duration { return time.Hour }
	f.Exec(t, "CREATE INDEX ON artifacts (project)")
	scans, _ := f.queue.take()
	f.again(t, func() error {
		s, err := f.startScan(t.Context(), scans[0], 1, f.process)
		if err != nil {
			return err
		}
		return s.divide(t.Context())
	})
}

// works carries out the jobs that there are.
func (f *faulty) works(t *testing.T) {
	t.Helper()
	scans, finalizes := f.queue.take()
	for _, id := range scans {
		f.again(t, func() error {
			err := f.Scan(t.Context(), id, 1, f.process)
			if errors.Is(err, ErrBusy) {
				f.queue.scans, err = append(f.queue.scans, id), nil
			}
			return err
		})
	}
	for _, z := range finalizes {
		f.again(t, func() error { return f.Finalize(t.Context(), z, 2) })
	}
}

// again tries until it succeeds, or another try was the one that did.
func (f *faulty) again(t *testing.T, try func() error) {
	t.Helper()
	countertest.Again(t, func() error {
		if err := try(); !errors.Is(err, ErrSuperseded) {
			return err
		}
		return nil
	})
}
