package jobs

import (
	"fmt"
	"sync/atomic"
)

// Stat is one of the numbers that are kept of a process's runs.
type Stat int

// What is counted of runs. Each run that is not over before it began ends as one of Synced
// to Failed, or as Absent.
const (
	Claimed Stat = iota
	Synced
	Superseded
	HandedOver
	Fenced
	Released
	Failed  // all runs that ended with an error
	Missing // those of them whose resource the source does not have
	Absent  // runs whose resource the source does not have, where that is no failure
	Bytes
	Verified
	Mismatched
	stats
)

var statNames = [stats]string{
	"claimed", "synced", "superseded", "handed_over", "fenced", "released", "failed", "missing", "absent", "bytes", "verified", "mismatched",
}

// String returns the name under which it is logged.
func (s Stat) String() string {
	if s >= 0 && s < stats {
		return statNames[s]
	}
	return fmt.Sprintf("stat %d", int(s))
}

// Stats counts what became of this process's runs since it started.
type Stats struct{ counts [stats]atomic.Int64 }

// Of returns one of them.
func (s *Stats) Of(stat Stat) int64 { return s.counts[stat].Load() }

// Add adds n to one of them.
func (s *Stats) Add(stat Stat, n int64) { s.counts[stat].Add(n) }

// Count is one of the [Stats], named as it is logged.
type Count struct {
	Name string
	N    int64
}

// Counts returns all of them, always in the same order.
func (s *Stats) Counts() []Count {
	counts := make([]Count, stats)
	for stat := range stats {
		counts[stat] = Count{stat.String(), s.Of(stat)}
	}
	return counts
}

// count adds n to a stat, of a resource of a kind.
func (w *Worker) count(kind string, stat Stat, n int64) {
	w.Stats.Add(stat, n)
	if w.cfg.Counted != nil {
		w.cfg.Counted(kind, stat, n)
	}
}
