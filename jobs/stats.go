package jobs

import "sync/atomic"

// Stats counts what became of this process's runs since it started.
type Stats struct {
	Claimed    atomic.Int64
	Synced     atomic.Int64
	Superseded atomic.Int64
	HandedOver atomic.Int64
	Fenced     atomic.Int64
	Released   atomic.Int64
	Failed     atomic.Int64 // all runs that ended with an error
	Missing    atomic.Int64 // those of them whose resource the source does not have
	Bytes      atomic.Int64
	Verified   atomic.Int64
	Mismatched atomic.Int64
}

// Count is one of the [Stats], named as it is logged.
type Count struct {
	Name string
	N    int64
}

// Counts returns all of them, always in the same order.
func (s *Stats) Counts() []Count {
	return []Count{
		{"claimed", s.Claimed.Load()},
		{"synced", s.Synced.Load()},
		{"superseded", s.Superseded.Load()},
		{"handed_over", s.HandedOver.Load()},
		{"fenced", s.Fenced.Load()},
		{"released", s.Released.Load()},
		{"failed", s.Failed.Load()},
		{"missing", s.Missing.Load()},
		{"bytes", s.Bytes.Load()},
		{"verified", s.Verified.Load()},
		{"mismatched", s.Mismatched.Load()},
	}
}
