// Package redisstore keeps positions of objects for package replica in Redis: one
// server, a Sentinel's master, or a Cluster.
//
// # Guarantee
//
// What the store has forgotten is never taken for "nothing there". A write that was
// acknowledged, and whose calls succeeded, is found as its position, as its mark, or
// below a floor.
//
// # Layout
//
// 16 hashes, "replica:{0}" to "replica:{15}"; an object is in one of them. Fields:
//
//   - floor: no object of this hash without a field was written beyond it;
//   - identity: run_id and master_replid of the server whose memory the floor is of;
//   - claim: a nonce that whoever makes a floor ready must find again;
//   - p<object>: the object's newest position, when that lies above the floor;
//   - m<object>: marks of writes that are on their way.
//
// They are one hash so that they are lost together: a hash that was evicted or flushed
// has no floor. One that was read from an older dump, or is that of a replica that was
// promoted, has the identity of another process; one of a master that was replaced for
// a while, and came back, that of another promotion. Their floor does not count until it
// was raised to the primary's present position.
//
// # How a floor becomes ready
//
//  1. A read finds the floor missing, or of another identity, and leaves a claim.
//  2. Its process asks the primary for the present position. All that the store was told
//     before the claim, and has lost, lies before it.
//  3. It raises the floor with the claim. If the claim is gone, the store was lost again
//     meanwhile, and with it perhaps what lay beyond the position: an error, and the next
//     read begins anew. So it does no harm however late a process is between 2 and 3.
//
// Whoever could not store a position raises the floor without a claim: that makes it
// higher, and not ready.
//
// # Failures
//
//   - A call that fails may have been applied. Each can be repeated, and may come late:
//     positions and floors move forward only, and a mark is removed by its own id. One
//     that comes after its removal is decided by any reader that finds it.
//   - A tag whose call failed rests for a second: one time-out is paid, not one for each
//     read. Of a Cluster only the tags of the node that is away do so. Errors are
//     [replica.PartialError]; the other objects are marked, merged and raised.
//   - A Redis that is full or read-only refuses marks and positions: errors, and reads of
//     those objects go to the primary. A full one can still be read. A key of another kind,
//     or a hash of another program, is an error as well, for its tag.
//   - Two masters at once are outside the promise: what the one that loses was told is
//     lost. So is a Cluster's slot that was moved away, lost writes there in a failover,
//     and was moved back, all before anybody read of it.
//
// # Cost
//
// A read is plain commands in one pipeline: the fields, then the server's identity
// (plain.go, which tells why that is no weaker than a script). A script follows only when
// a floor is not of this memory, or an object is being written; on a Cluster, whose
// pipelines go to several servers, each read is a script. A process that reads one after the
// other, on one machine: bare GET 13 µs, one object 17 (as a script 27), ten 25 (40). A
// merge is 0.72 of a bare SET with 16 clients.
//
// # Memory
//
// A field is about 100 bytes and lives until all standbys have passed its position and a
// floor was raised above it, about a second later. Marks are removed by their write, or
// by whoever meets them. Nothing expires.
//
// # Rejected
//
//   - A key for each object with an expiry: it must outlive the longest lag, and an evicted
//     key reads as "nothing was written".
//   - A key for the floor: it outlives a position that was evicted.
//   - The clients' clocks: a mark's age is by the server's own.
//   - WAIT for replicas: a failover can still take one that lacks the write; the identity
//     tells that, and costs nothing on writes.
//   - run_id alone as the identity: a master that was demoted and promoted again is the
//     same process.
//   - A floor that becomes ready with any present position: the process that asked for it
//     may be late, and the store lost again.
//   - CLUSTER MYID as the identity: it survives a restart with an older dump.
//   - Asking for the identity once for each connection: a master that is demoted and
//     promoted again keeps its clients' connections.
//   - Client-side caching (CLIENT TRACKING): an invalidation may arrive after the write
//     that caused it was acknowledged. What waits for it to arrive costs the trip that was
//     to be saved.
package redisstore
