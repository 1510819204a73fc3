package probing

import "time"

// SQL are the statements, for the tests of their plans.
var SQL = probeSQL

// SetClock has p take the time from now.
func (p *Prober) SetClock(now func() time.Time) { p.now = now }
