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
	Failed     atomic.Int64
	Bytes      atomic.Int64
	Verified   atomic.Int64
	Mismatched atomic.Int64
}
