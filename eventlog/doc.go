// Package eventlog is the append-only log that feeds everything else, and the
// one way to read it without a gap.
//
// # Guarantee
//
// An event is committed with the change that it tells of, or not at all. A
// [Reader] that goes on from the position it stored sees every event exactly
// once, and the events of one resource in the order in which they were appended,
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
// # How soon
//
// A ticker polls each 50 ms, and within 10 ms when it sees that ids of events were drawn,
// which is one read of a sequence. So a lone event waits for some 5 ms, and where much is
// written a tick has the events of 50 ms. Each tick is announced once ([Listen]), for
// followers that are connected to the primary: the announcement may be lost, and they
// poll, too. A standby announces nothing; whoever follows there polls each 20 ms.
//
// # Positions
//
//	             no events                      no events left in the step
//	            +---------+                    +---------------------------+
//	            v         |   more than a page |                           |
//	(timeline, tick, nonce) ---+------------------> (..., to_tick, to_nonce, page)
//	            ^                                   |   ^   |
//	            |  at most a page                   |   +---+ next page
//	            +-----------------------------------+
//
// A step once begun is finished to the same tick: an event that committed
// between two pages may have a lower id than the page.
//
// # Timelines
//
// A timeline lasts from one promotion to the next. A failover that lost WAL issues
// tick ids, event ids and transaction ids again, so ticks and events compare as
// (timeline, id), and each tick has a random nonce. A reader goes on when the source
// shows its nonces, across a promotion, too; a promoted server has a prefix of
// what the old one wrote. Otherwise [Reader.Rewind] tells where to go on:
//
//	what the source shows                   goes on from                  to be compared
//	a newer timeline, from this tick on     newest tick of this timeline  what came with ticks beyond it
//	  or below it
//	this timeline under another id, or      newest tick                   everything; timelines do not
//	  this tick with another nonce                                        compare any more
//	its oldest tick is beyond this one      newest tick                   everything
//	neither this timeline nor a newer one,  it is late: wait
//	  or not yet this tick
//
// A server that was set back without a promotion (an image of its disk) shows
// its ticks' other nonces only when it has come to them again. Set it back by
// Postgres' own recovery, which begins a timeline of the server, and so one of the log.
//
// # Pruning
//
// The tick that is oldest of those that somebody goes on from is kept, and all
// newer ones (casq.oldest_needed_tick: cursors of this database, and followers
// that have reported within the time of retention), and in any case what was
// there to be read for less than that time. Ticks are deleted first, oldest
// first; then the events that the oldest tick left shows. So no step between two
// ticks that are there lacks an event, whatever dies in between, on the primary
// and on a standby; a page is only used if the statement that read it has seen
// both ticks of its step. Each transaction deletes a bounded number.
//
// A log whose tick 0 is gone cannot be read from its beginning: whoever starts
// on it goes on from the newest tick, and has to compare everything.
//
// # Failure story
//
//  1. The writer dies before its commit: no change, no event.
//  2. The ticker dies: any other session takes the next tick. Ticks need no
//     lease; casq.tick takes a lock for the length of one transaction. Tickers
//     may agree on one that polls often, see [Pace]: the others poll each second
//     when nothing comes of it.
//  3. The reader dies: its position says where to go on, inside a step too.
//  4. The source fails over and has lost what was read: the timeline, the tick or
//     its nonce is gone or another one. Next returns [ErrLost] and nothing is
//     applied; see above. A source that is merely late gives [ErrLate]: wait.
//  5. The source is another cluster (a restored dump): [ErrForeign], also before
//     the log was adopted there (casq.adopt_log, which begins a new timeline above
//     all that the log had).
//  6. The reader's tick was pruned: [ErrPruned]; see above.
//
// # Rejected
//
//   - Polling by id: loses late commits (races R85).
//   - Waiting for pg_snapshot_xmin: stalls behind any open writer of the whole
//     cluster, in another database too, and (xid, id) order swaps the events
//     of one resource.
//   - LISTEN/NOTIFY per event: its commit lock is global. Once per tick it is not felt.
//   - Logical decoding: a slot holds back WAL for a follower that is away, and
//     standbys decode only from Postgres 16 on.
//   - Comparing snapshots to see whether something happened: the tick's own
//     transaction id moves them, and an idle system would never rest.
package eventlog
