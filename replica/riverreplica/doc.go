// Package riverreplica gives each job of River a session of package replica:
//
//	config := &river.Config{Middleware: []rivertype.Middleware{&riverreplica.Middleware{DB: db}}}
//
// The session is in the context of [river.Worker.Work]; what the worker reads through
// the DB comes from a standby that has
//
//   - what the transaction wrote that inserted the job, and all that was committed before
//     the job was fetched: the primary's position, asked when the job begins, once for
//     all jobs that begin meanwhile; it is never older than the fetch;
//   - what the session that inserted the job had met: its token travels in the job's
//     metadata, if the context of the insertion had a session.
//
// # What a worker declares
//
// A worker's own Middleware method says how much it wants to be on a standby:
//
//		func (*Worker) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
//			return []rivertype.WorkerMiddleware{riverreplica.Delayed{}}
//		}
//
//	  - [Always]: the primary.
//	  - [Sticky], and without a declaration: a standby that has everything, else the primary.
//	  - [Delayed]: waits for a standby, up to a bound; then the job snoozes, once; then it
//	    runs, wherever its reads can be served by then. A snooze costs no attempt.
//
// After its snooze a delayed job needs the position of its first fetch, and not of the
// present: a standby that is always a second late would never have that. The
// position stands in the metadata together with the attempt, so that another attempt,
// which has to read what the one before it wrote, does not use it: whether that one
// failed or died.
//
// When the primary does not tell its position, or no standby is configured, the job's
// reads go to the primary. Metadata that cannot be read never fail a job.
package riverreplica
