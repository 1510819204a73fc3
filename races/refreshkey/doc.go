// Package refreshkey is the published fix for counters that drift while they
// are recounted, whole and working: the twin that casq's races of the counters
// are played against, and the reference of its benchmark. Nothing of casq uses
// it.
//
// It follows GitLab's buffered counters (Gitlab::Counters::BufferedCounter,
// Projects::BuildArtifactsSizeRefresh and the workers around them) as they are
// published. The algorithm is theirs, the code is written anew.
//
// A counter is a column in Postgres, and a number in Redis that increments go to.
// A flush, alone by a lock that expires, moves the number to a second key, adds
// that to the column and deletes it.
//
// A recount goes through these states, in batches that any worker may take up:
//
//		created --> running <--> pending
//		               |
//		               +--> finalizing --> (row deleted)
//
//	  - It begins with the column set to zero, the buffered number deleted, and an
//	    indicator in Redis. While that is there, increments go to a refresh key.
//	  - Every increment names the artifact that it is about. One bit for each
//	    artifact and sign says that it was counted: what the events and the scan
//	    both tell counts once. A decrement counts only after its increment, since
//	    an artifact that is gone already will not be found.
//	  - The scan reads the artifacts up to the highest id at the start, batch by
//	    batch, and increments by each.
//	  - Some time after the last batch the refresh key is added to the buffered
//	    number, and it and the indicator are deleted. The bits are deleted by a job
//	    in the background.
//
// # What it wins
//
// An artifact that was deleted before it is scanned, created and found as well,
// or scanned and then deleted, each with events that are read while the recount
// runs: R20, R21, R22, R33, R34.
//
// # What it loses
//
//   - There is one increment and one decrement for each artifact: a second one,
//     as when its size changes, is taken for a double (R24).
//   - An event that is read after the end counts plainly, although the scan has
//     seen its effect (R23). The delay makes that rare.
//   - What a flush has moved to its second key survives the zero (R25); a flush
//     that outlives its lock adds what another adds as well (R28); one that dies
//     between deleting the key and the commit loses it (R29).
//   - A recount that begins before the clean-up of the last one finds all bits
//     set; one that is asked for while one runs is dropped (R26).
//   - A worker that was frozen inside of a batch increments plainly when it goes
//     on after the end (R27).
//   - Redis is the only copy of what was not flushed, and of the recount (R30).
//   - Readers see zero, and then a part, until the end (R31).
package refreshkey
