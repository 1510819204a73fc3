// The chaos program injects faults into two sites while an application writes,
// and checks at the end whether everything that is promised holds.
//
//	go run ./internal/programs/chaos [-seed N] [-seconds N]
//
// The last line is
//
//	chaos: OK seed=n operations=n faults=n violations=0
//
// and the exit status 0. Otherwise it begins with "chaos: FAILED", each
// violation is listed before it with what casq.why says of the resource and what
// the workers logged of it last, and the folder of the run is kept: both sites'
// files, the workers' logs, the faults with their times (journal.txt), and the
// tables and jobs of both sites as CSV (evidence, and in evidence/stalled as they
// were when nothing moved any more).
//
// # The set-up
//
//	application --> primary --> standby <-- worker-1, -2, -3 --> home
//	               ^  ^                        |        |
//	          ticker, second                 Redis    target folders
//	            ^         ^
//	            └─ runners
//
// Servers are real and private, workers are processes of their own. Leases and
// claims are good for 3 s, so that they run out while a process is frozen. Files
// are read at 5 MB/s at most, so that copies are under way when a fault comes.
//
// The application does what an honest one does. It has few resources, so that all
// of them are created, changed, moved, deleted and created again under the same
// ids and paths many times: one by one, by bulk statements, by a cascade, by two
// connections at once, in transactions that stay open for seconds and commit
// late, with savepoints and rollbacks, and where there was a folder before, or a
// file. Bytes are in place before the commit of the row that names them, and go
// after the commit that takes the row away. When the answer to a commit is lost,
// or the server that was promoted lacks it, the row as it is then is the truth,
// and the application makes its bytes what the row says. So its tables and
// folders agree at the end, and they are what the second site has to have.
//
// The first site counts its files by project; some or all counters are
// recounted every two seconds.
//
// The workers at the primary, ticker and second, also hand builds out, for which they look
// at the standby. Pipelines of builds that need each other are added, canceled and tried
// again, one project has a limit. Twelve machines, of four processes of runners, ask either
// worker, on a network that loses answers, is busy, and spoils logs; one build in twelve
// has its machine die and come back. What the builds leave lies in the first site's folder,
// beside the application's files. See package buildfarm.
//
// Two pairs of clients write to the first site's primary and read back by way of
// package replica, which may choose the standby: the writer in its session, and another
// one that watches the same object through Redis, or is handed a token.
//
// # What is injected
//
// Every 1 to 3 s one of these; each comes once before any comes again.
//
//   - a worker, or the one that takes the ticks, is killed (SIGKILL) and
//     started again after up to 2 s; all of the second site are, at once
//   - one is frozen (SIGSTOP) for longer than leases and claims are good
//   - one kills or freezes itself at a point where something has just had its
//     effect, or is about to: around claim, rename, commit, and moving a cursor
//   - all sessions at home are ended (pg_terminate_backend); all at the source
//   - home, the primary, or the standby stops at once, as pg_ctl -m immediate
//     does, and starts again after up to 1.5 s
//   - home or the standby is frozen for up to 4.5 s: connections stay open and
//     nothing answers
//   - the standby hangs for longer than a recount waits for it, and for as long as a
//     comparison waits. A comparison is asked for at other times, too
//   - the standby does not replay for up to 5 s
//   - fail-over without loss: the primary stops in order, the standby is
//     promoted, a new one is built
//   - fail-over with lost commits: the primary is killed while the standby is
//     behind. The application was told of commits that are not there any more;
//     the second site, which reads from the standby, has not seen them
//   - fail-over that loses what was read: as before, and the second site reads
//     from the primary at that time
//   - Redis loses everything (FLUSHALL); it is killed and started again; it is
//     frozen, for less or more than a lease is good
//   - a byte of a copy, or of a mirror's pack, is flipped, or the file is cut off,
//     or a pack removed, and its verification is asked for. It is asked for again at
//     the end, of these alone: an update voids a verification that waits
//   - a target or a source is moved away for up to 3 s, or is under its name only by
//     way of a link, or another, empty folder has its name: what is written there is
//     lost. A source is left alone by the application meanwhile
//   - DDL on the tracked tables, in a transaction that stays open for a while, and its
//     undoing: a column that is not tracked, a rewrite that changes no value, an index;
//     VACUUM FULL. Where the event triggers are: a partition is detached with its rows
//     and attached again; and what must be refused is tried, such as dropping a table
//
// A fault that lasts goes on while others begin, except for those that need the
// same server or worker, which wait for each other.
//
// What a run has around it follows from the seed, too. In one of two a superuser has
// made the event triggers, and artifacts is partitioned; in the other there are none,
// and it is a plain table. The clocks of the first primary and of home are right in
// one run of two, each for itself, and otherwise 30 s to 10 minutes ahead or behind;
// so is that of each standby by its primary's, so that time jumps at the source with
// a fail-over. Without gcc all are right, and a line says so.
//
// The schedule, which fault when, on whom and for how long, follows from the seed
// and the configuration alone. The same seed means the same faults at the same
// times, not the same interleavings: those are the machine's.
//
// # What is checked
//
// When the last fault is over and the writers have stopped, the run waits until
// the second site says that it has nothing left to do. That nothing moves for a
// minute while something is left is a violation (a try that is due later is
// waited for). Then the workers are stopped, in order, and:
//
//   - every file of both sites is compared by content, and every repository ref
//     by ref, with HEAD and all objects, which are read, in both directions
//   - nothing else is at the second site: no empty folder, no staging, no ref of
//     casq's own
//   - every row of the registry is synced, with the checksum of what is there,
//     or removed; a resource without a row, and a row without a resource, is found
//   - no claim, and no job that waits or runs with nobody at it
//   - no event was dead-lettered
//   - each event of the source's log was applied exactly once. This is counted
//     by a consumer that follows the log in the worker processes, under a cursor
//     of its own, and inserts a row for each event, in the transaction that moves
//     the cursor, into a table without any constraint. What was read and then
//     lost by the source is told apart by the tick that delivered it: see
//     checkEvents.
//   - no read back, while faults come, has shown less than was written before and
//     acknowledged. What the primary itself does not have afterwards was lost in a
//     failover. Reads that get no answer are counted, not compared
//   - each build that was added has ended, and what runners were told of it has an order
//     that explains it (porcupine): one attempt was live at a time, and that one only was
//     heard; what was lost in a failover may be gone, and does not come back
//   - no pipeline stood still, at any time that was checked
//   - each log has its checksum, and is what the runner has sent; what builds have left is at
//     the second site as its row says, like the application's files, and in the counters
//   - each counter of the first site is what its table says, and no recount has
//     found a difference, except for the first one after counting has started over.
//     That is no violation: a failover has lost the first rows of a shard, or ticks
//     that it had read, so that there is no position to go on from. The counters say
//     that they are not exact until the recounts have ended that are asked for in the
//     same transaction
//
// # What is not checked
//
// Bytes of builds at the first site that no row tells of, when a failover has lost that.
// Power cuts: the servers do not flush. Networks that lose packets: everything is on
// sockets of one machine. Clocks that jump under a server that runs. Disks
// that are full. Reads by others from the second site while a run is at work. A
// timeline that is lost as a whole, with all of its ticks: a reader starts over then,
// and what is counted here ends with it.
package main
