// Package reconcile compares a registry with its source, and asks for what differs.
//
// The log tells of every change once. What it cannot tell of was lost with a server, or
// pruned before it was read, or was never logged: then the registry asks for a run
// (registry.Ask), and a [Reconciler] carries it out, page by page, in up to four phases:
//
//	resources --> rows --> staging --> walk
//
// resources are what the source has and the registry may not have; rows what the
// registry has and the source may not have; staging the folders that no run works in;
// and walk compares what is in place with the registry. Each page is one transaction
// with its effects, its jobs and the run's progress, so that a run outlives the process
// that carries it out. A comparison writes what a row's version at the time of the
// reading allows, and never against a newer tick: of the log and a comparison the log
// knows better. Where it would remove most of a kind it removes nothing ([TooMany]).
//
// [Refetch] does the same for single resources, and [Replay] for those of events that
// were dead-lettered. Which resources are wanted, and everything that a version may
// become, is package registry's: this one asks it for new versions. See
// DESIGN.md.
package reconcile
