// Package cursor follows the log on behalf of a consumer, one batch at a time.
//
// # Guarantee
//
// Every event takes effect exactly once, however many cursors of one name run,
// and whatever happens to them: killed, frozen, cut off, or left without the
// answer to a commit.
//
// # How
//
// A batch is one transaction. It holds the consumer's effects and one UPDATE of
// the cursor's row that names the epoch and the position, page included, with
// which the batch began. When that row says something else, nothing of the
// batch takes effect. Whoever becomes the active cursor raises the epoch first.
//
// Which cursor is active is decided by a lease in Redis, or without Redis by
// what the holder's row shows. Neither protects anything. DESIGN.md has the
// states, and what happens when a holder is killed, frozen or cut off.
//
// # Logs that do not continue
//
//  1. The source fails over and has lost ticks, all of them without events: the
//     holder goes back to the stored position, from which nothing was applied.
//     Had they events, it goes back to the newest tick that is left of what it
//     has read, and its consumer makes good for the rest in the same transaction
//     ([Rewinder]; for a consumer that cannot, the cursor stops).
//  2. The position was pruned: likewise, at the newest tick.
//  3. Home itself fails over and has lost positions, and epochs, which are
//     issued again: a holder of before names a position that is not there, down
//     to the tick's random nonce, and is fenced by it. Where it has the epoch and
//     the position of one of now, whichever moves first fences the other.
//
// # Events that cannot be applied
//
// Data that the consumer refuses must not stop the log. When a batch has failed
// Config.Tries times with SQLSTATE 22 or 23, a decoding error or an unknown
// kind, it is applied in ever smaller parts, each in a savepoint, all in the one
// transaction that moves the cursor. Order is kept, and what fails only together
// with others is applied. A single event that is still refused goes to
// casq.event_failures, with the reason; later events of the same resource go on.
// 1,000 such events in one batch took 0.5 s, so 5,000, all of a batch, take some
// seconds.
//
// Everything else, such as a full disk, a missing permission, a lost connection
// or a deadlock, says nothing about the event: the cursor stops and tries again,
// for as long as it takes, also when it comes up while parts are applied.
//
// The number of tries is kept in memory. After a restart or a takeover it begins
// again, so that each process tries a batch at most that often. A consumer must
// not take its own writes for committed until its next batch: a part of one may
// be undone, and so may all of it.
//
// # Idle
//
// A position moves in memory over ticks without events; it is stored every few
// minutes, so that it holds no old ticks back, and an idle system writes
// nothing, with Redis or without.
package cursor
