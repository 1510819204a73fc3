// Package registry keeps what is wanted of each replicated resource, what was
// achieved, and which run works on it, and lets long-running jobs race with the
// log without ever writing a state that is not true.
//
// A row of casq.registry has a version, the token. Every change of the log
// gives a new one and queues a job that carries it. A run claims the row under
// its token, copies without holding a connection, and ends by one transaction
// that locks the row, compares token and claim, publishes, and writes the
// result. The status is derived from the columns; there is no state to be stuck in.
//
//	          transpose                 claim
//	(none) -------------> pending ----------------> started
//	                       ^  ^ ^                    | | |
//	         new version   |  | +--- released -------+ | |
//	   synced -------------+  +--- failed, retry_at ---+ |
//	     ^                                               |
//	     +---------------- published --------------------+
//
// A new version may come in every state. See DESIGN.md for the guarantee, the
// steps and what is true after a crash at each of them.
package registry
