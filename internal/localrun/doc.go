// Package localrun runs the jobs of a CI file with an unmodified gitlab-runner on this
// machine, and with a coordinator and a database that are there for this run only.
//
//	folder ──► snapshot (a bare repository) ──► gitlab-runner ──► a fresh clone for each job
//	CI file ─► plan ─► scheduler ─► queue ◄──── gitlab-runner ──► log, artifacts
//
// # Guarantee
//
// A job runs on the working tree as it is when the run begins: what is changed and not
// committed, and what is new and not ignored, is there. The folder is read and not written:
// neither its files, nor its repository's index, refs or objects, of which git may renew the
// times. A job changes a clone.
//
// Nothing is left behind: no process that the runner has started, also one that has left
// its session, and no file. When this process is killed the kernel has the runner end, the
// servers' watchdog ends the database, and the folder and what still runs for it goes with
// the next run.
//
// # Who decides what
//
// The queue hands jobs out and knows how they end. When one begins is decided here
// ([schedule]), since a job may begin because another has failed, which the queue's needs do
// not say: so a job is queued when those before it have ended, with needs that only name
// whose artifacts it gets.
package localrun
