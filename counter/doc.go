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
// A recount sums the table up in one snapshot, on a standby if there is one,
// and records what that snapshot has seen of the log. The swap puts in place the
// sum and what the log has added since, as of the very position that the counters
// have then. Until that moment the old value stays, and stays readable.
//
//	created --> running --> finalizing --> done
//	   |          |             |
//	   +----------+-------------+--------> failed, cancelled
//
// See DESIGN.md for the guarantee, the failure story and what was rejected.
package counter
