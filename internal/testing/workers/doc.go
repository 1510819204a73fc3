// Package workers runs workers in processes of their own, for programs that stop,
// kill and freeze whichever of them follows the log, and see who takes over.
//
// Each is a whole worker, which takes ticks, and beside it a cursor of its own
// whose consumer writes a row for each event that it is given. Nothing keeps an
// event from being recorded twice, nor by two processes: that is what [Group.Tally]
// counts.
//
// A program that uses it is its own worker program: it calls [Child] first
// resource.
package workers
