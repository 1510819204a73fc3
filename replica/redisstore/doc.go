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
//   - identity: run_id of the server whose memory the floor is of;
//   - p<object>: the object's newest position, when that lies above the floor;
//   - m<object>: marks of writes that are on their way.
//
// They are one hash so that they are lost together: a hash that was evicted or flushed
// has no floor. One that was read from an older dump, or is that of a replica that was
// promoted, has the identity of another process, and its floor does not count until it
// was raised to the primary's present position.
//
// # Failures
//
//   - A call that fails may have been applied. Each can be repeated: positions move forward
//     only, and a mark is removed by its own id.
//   - A tag whose call failed rests for a second: one time-out is paid, not one for each
//     read. Of a Cluster only the tags of the node that is away do so.
//   - Two masters at once are outside the promise: what the one that loses was told is
//     lost, and its successor has another identity only when it was another process.
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
//   - CLUSTER MYID as the identity: it survives a restart with an older dump.
package redisstore
