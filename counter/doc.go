// Package counter counts bytes and items by kind and scope, exactly, and recounts
// them while they change.
//
// The deltas of the log's events are summed up in Redis, shard by shard, and
// flushed to Postgres about once a second. A shard's sums in Redis begin and end
// at stamps, which are positions of the log; the counters in Postgres have such
// a position too. What is added to what is decided by these alone, so any step
// may fail, be repeated or come late, and a Redis that has lost its memory is
// replayed from the log.
//
//	            events beyond         freeze           one transaction
//	the log ------------------> pending ----> frozen ------------------> counters
//	            its stamp                              adds, and moves
//	                                                   the position
//
// The rooms, each of which knows only those below it:
//
//	counter         recount     counters are fed and read; they are recounted
//	      internal/feed         what the log tells goes to Redis, and on to Postgres
//	internal/buffer  internal/shards   a shard in Redis; in Postgres
//	      internal/tally        which counter, which shard, what sum
//
// A recount is handed the counters as an interface, and swaps its sums into the
// shards.
//
// See DESIGN.md for the guarantee, the failure story and what was rejected.
package counter
