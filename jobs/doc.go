// Package jobs is the thin layer between River and the registry: the arguments
// of the jobs, their insertion in the transaction that wants them, and workers
// that claim, copy and commit.
//
// A job is a wish, never the truth: it carries the version of the registry row
// for which it was queued, and is a cheap no-op when the row has another one.
// River's own state is therefore allowed to be wrong: jobs may be lost with
// their worker, run twice at once, or be completed by a run that River had
// given up.
package jobs
