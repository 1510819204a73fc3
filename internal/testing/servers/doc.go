/*
Package servers starts private Postgres clusters and Redis servers for tests,
demonstrations and development, from the programs found on the machine.

	primary, err := servers.StartPostgres(ctx, servers.PostgresOptions{})
	standby, err := primary.Standby(ctx, servers.StandbyOptions{})
	defer primary.Stop(ctx)
	defer standby.Stop(ctx)

The servers can be killed, frozen, promoted, paused and started again. Several
processes may start as many as they like at the same time; a primary with one
standby is up in half a second. [StartRedisCluster] and [StartRedisSentinel] start
several Redis servers that belong together.

# Guarantee

**Nothing is left behind, however the process that started the servers ends.**
No process, no folder, no segment of shared memory. The one exception is wanted:
a folder that the caller names keeps its data.

**Nothing of the user's is touched.** A server listens on a Unix socket in a
folder that only the servers' user may enter, and on request on a free port of
127.0.0.1 with a random password; never on a fixed port. The environment of the
caller (PGPORT, PGOPTIONS, ...) does not reach it. A folder that holds something
else is refused.

**What was committed survives a SIGKILL of the server**, also without
PostgresOptions.Durable: the kernel has it. Only a power cut needs more.

# What lies where

A process has one run folder, casq-servers-* in the folder for temporary files,
as long as it has servers. In it each server has a folder of its own:

	casq-servers-123/lock        held with flock by the process and its watchdog
	casq-servers-123/1/data      the data; also the working directory
	casq-servers-123/1/log       what the server says
	casq-servers-123/1/.s.PGSQL  the socket, below the 107 bytes it may have

A folder that the caller names looks like one of those and has a lock and a
watchdog of its own. A root process runs its servers as postgres, else nobody,
since Postgres refuses to run as root.

initdb takes 1.2 s and a copy of what it makes 0.07 s, so its result is kept in
the user's cache folder, one per version.

# Failure story

 1. The process stops its servers: Stop ends them, removes the folder, and lets
    the watchdog go.
 2. The process gets SIGKILL, panics, or exits without Stop. The kernel closes
    its end of a pipe; the watchdog at the other end, a shell in a session of
    its own, kills what works in the folders and removes them. That took 92 ms
    on a busy machine.
 3. A server was frozen, or a backend is busy in a loop that never asks whether
    its postmaster lives. The watchdog finds processes by their working
    directory, not by their parent or process group: Postgres' backends lead
    sessions of their own, and an orphan's parent is process 1.
 4. The process dies between fork and exec of a server. The child has the pipe's
    end too, until it has entered its folder and called exec; only then does the
    watchdog see the end and search.
 5. The next process comes before the watchdog is done. The watchdog has the
    lock too, so a folder of the caller's is not taken up (for 10 s) before the
    old server is gone; a run folder gets another name.
 6. The watchdog is killed as well. The lock of the run is free then, and the
    next process that starts a server, of the same user, does the watchdog's
    work first. A lock, unlike a process id, tells the truth across containers
    that share a folder.
 7. Nobody reaps orphans (process 1 of many containers): a killed postmaster
    stays a zombie, and by its lock files the next one would take it for alive.
    The watchdog removes those files.

# Rejected

Pdeathsig: the signal comes when the thread that forked ends, and the Go runtime
ends threads; the kernel drops it with a change of user; and it reaches the
postmaster only, not a frozen or busy backend, nor a folder.

A process group: backends call setsid.

The process id in the folder's name: process ids are used again, and mean nothing
in another container.

Finding a root process's servers in /proc/PID/cwd from the process itself: root in
a container without CAP_SYS_PTRACE may not look, so the watchdog runs as the
servers' user, and so does whatever removes shared memory.

full_page_writes=off: the kernel may break off the write of a page when its
process gets SIGKILL.

dynamic_shared_memory_type=posix: leaves files in /dev/shm when killed.
*/
package servers
