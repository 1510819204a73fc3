// Package transfer is what moving the bytes of one resource, a file or a git
// repository, means: from a source to the same path below a target. It knows nothing
// of versions, rows or databases: whoever calls it decides what may be published,
// and a caller who is no longer entitled to publish cannot.
//
// It is the ground that the kinds stand on: places and their paths, payloads, sums,
// marks of targets, errors. The kinds are [casq/transfer/file], from anywhere into a
// folder, [casq/transfer/bucket], into a bucket, and [casq/transfer/git]; none of them
// knows another one, and which one it is to be is the worker's choice. What those that
// write into folders share is [casq/transfer/folder].
//
// A [Run] is what one claim does to one place:
//
//		Begin ──► Copy ──► Publish ──► Close
//		  │                               ▲
//		  └───────────────► Remove ───────┘
//
//	  - Begin makes the claim's own staging, once, and deletes the
//	    staging of every other claim on the same place until it is gone. It is
//	    called after the claim has been committed.
//	  - Copy is long. It writes only to the claim's own staging (for a repository
//	    that is already in place, also objects and refs below refs/casq/<claim>/,
//	    which nobody is shown).
//	  - Publish and Remove are short and meant to be called inside the transaction
//	    that commits the outcome: one rename between staging and place, or one git
//	    ref transaction.
//	  - Close drops the staging, whatever the transaction's end was.
//
// # The guarantee
//
// Once Begin of a later claim has returned, nothing that an earlier claim does
// changes the place: its rename has lost its source (publish) or its destination
// (removal), and its ref transaction has lost its fence ref. It is told so by
// [ErrFenced]. This holds for a process that was frozen between the check of
// its row and the rename and wakes up hours later; it does not depend on clocks,
// leases, or row locks.
//
// A bucket as the target of files keeps less: what its server was told before may
// still be carried out. See the package bucket, and DESIGN.md.
//
// # Failures
//
// A crash at any point leaves the place as it was before or as it is after, never
// in between, and at most some staging, which the next Begin of that place, or a
// sweep, removes. A repository that is updated in
// place is the one exception: git applies a ref transaction ref by ref, so a
// power cut can leave some refs new and some old; the next run completes them.
//
// DESIGN.md has the steps with what is true after each of them, the meanings of
// ENOENT, and what was rejected.
//
// Folders need Linux (openat2, renameat2, /proc), and repositories git 2.36 or newer.
package transfer
