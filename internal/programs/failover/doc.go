// The failover program shows how workers take over from each other.
//
//	go run ./internal/programs/failover [-lease 20s]
//
// Three worker processes follow one log, in which events are committed all the
// while. The one that is at it is stopped in order, the next one is killed, and
// the next one is frozen for longer than the lease. It prints what the three
// log of it, merged, then the same in words, and counts what was applied. The
// last line is
//
//	failover: OK
//
// and the exit status 0 when each event was applied exactly once and others took
// over in time. Otherwise what was wrong is said before "failover: FAILED". It
// lasts little more than two leases.
//
// Servers are private and workers real processes: see package workers.
package main
