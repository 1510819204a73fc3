package races

import (
	"testing"
	"time"

	"casq/races/refreshkey"

	"github.com/google/uuid"
)

// TestR27FrozenScanner: a process is frozen inside of a recount, is taken for
// dead, and another one does the recount to its end. Then the first goes on and
// writes what it has found to the value that is already complete. What a run has
// found may count only while the run has not been replaced.
func TestR27FrozenScanner(t *testing.T) {
	t.Parallel()
	t.Run("twin/refreshkey", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := s.refreshkey(t, func(cfg *refreshkey.Config) { cfg.Stale = time.Nanosecond })
		s.put(t, 1, 1, 600)
		twin.arrive(t)
		twin.flush(t)
		_, err := twin.Ask(t.Context(), 1)
		must(t, err)
		frozen := s.child(t, countingSpec{Twin: true, Job: "scan", At: "scan:read"})
		twin.run(t)
		twin.scan(t)
		twin.end(t)
		quiesce(t, twin, map[int64]int64{1: 600})
		goOn(frozen)
		quiesce(t, twin, map[int64]int64{1: 1200})
	})
	for _, at := range []string{"scan:started", "scan:snapshot", "scan:summed"} {
		t.Run("ours/"+at, func(t *testing.T) {
			t.Parallel()
			s, o, process := newR27(t)
			o.ask(t, 1)
			scan := o.queue.scan(t)
			frozen := s.child(t, countingSpec{Job: "scan", At: at, Scan: scan, Process: process})
			s.exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", process)
			s.put(t, 2, 1, 50)
			must(t, o.worker.Scan(t.Context(), scan, 3, o.process))
			o.end(t)
			o.quiesceReal(t, 1)
			s.put(t, 3, 1, 7)
			goOn(frozen)
			o.quiesceReal(t, 1)
		})
	}
	t.Run("ours/finalize:locked", func(t *testing.T) {
		t.Parallel()
		s, o, process := newR27(t)
		o.start(t, 1)
		o.scan(t)
		s.put(t, 2, 1, 50)
		f := o.queue.finalize(t)
		// It holds the shard's lock until the server ends its session.
		frozen := s.child(t, countingSpec{Job: "finalize", At: "finalize:locked", Scan: f.Scan, Token: f.Token, Process: process})
		o.swap(t, f)
		o.quiesceReal(t, 1)
		s.put(t, 3, 1, 7)
		goOn(frozen)
		o.quiesceReal(t, 1)
	})
}

// newR27 is a counter of 600, and another process.
func newR27(t *testing.T) (*counterSite, *ours, uuid.UUID) {
	t.Helper()
	s := newCounterSite(t)
	o := s.ours(t)
	process := uuid.New()
	s.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ($1, 'race', 2)", process)
	s.put(t, 1, 1, 600)
	o.arrive(t)
	o.flush(t)
	return s, o, process
}
