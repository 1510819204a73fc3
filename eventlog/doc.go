// Package eventlog is the append-only log that feeds everything else, and the
// one way to read it without a gap.
//
// # Guarantee
//
// An event is committed with the change that it tells of, or not at all. A
// [Reader] that goes on from the position it stored sees every event exactly
// once, and the events of one thing in the order in which they were appended,
// on the primary as well as on a standby, however long transactions stay open
// and in whatever order they commit.
//
// # Why ticks
//
// Event ids are not commit order. A reader that polls "id > last" loses the
// event of a transaction that commits late; one that waits for the oldest open
// transaction stalls behind every idle session of the cluster. So the primary
// takes ticks: rows of casq.ticks that hold a pg_snapshot. A step leads from
// tick N to a later tick M and consists of the events that M shows and N does
// not, ordered by id. A writer that is still open costs nothing: its events
// come with a later tick.
//
// A standby's own snapshots forget which transactions are open, so a reader
// there never takes one: it uses the primary's ticks, which are rows and are
// replicated after everything that they show.
//
// # Positions
//
//	             no events                      no events left in the step
//	            +---------+                    +---------------------------+
//	            v         |   more than a page |                           |
//	(life, tick, mark) ---+------------------> (..., to_tick, to_mark, page)
//	            ^                                   |   ^   |
//	            |  at most a page                   |   +---+ next page
//	            +-----------------------------------+
//
// A step once begun is finished to the same tick: an event that committed
// between two pages may have a lower id than the page.
//
// # Failure story
//
//  1. The writer dies before its commit: no change, no event.
//  2. The ticker dies: any other session takes the next tick. Ticks need no
//     lease; casq.tick takes a lock for the length of one transaction.
//  3. The reader dies: its position says where to go on, inside a step too.
//  4. The source fails over and has lost what was read: the life, the tick or
//     its mark is gone or another one. Next returns [ErrLost] and nothing is
//     applied. A source that is merely late gives [ErrLate]: wait.
//  5. The source is another cluster (a restored dump): [ErrForeign].
//  6. The reader's tick was pruned: [ErrPruned].
//
// # Rejected
//
//   - Polling by id: loses late commits (races R85).
//   - Waiting for pg_snapshot_xmin: stalls behind any open writer of the whole
//     cluster, in another database too, and (xid, id) order swaps the events
//     of one thing.
//   - LISTEN/NOTIFY per event: its commit lock is global.
//   - Logical decoding: a slot holds back WAL for a follower that is away, and
//     standbys decode only from Postgres 16 on.
//   - Comparing snapshots to see whether something happened: the tick's own
//     transaction id moves them, and an idle system would never rest.
package eventlog
