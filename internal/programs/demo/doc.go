// The demo program replicates real files and real git repositories from a primary
// site to a second one, while other transactions go on, and proves the two
// sites equal at the end.
//
//	go run ./internal/programs/demo [-source DIR] [-keep] [-worker FILE]
//
// The last line is "demo: OK" if all is equal, and the exit status 0. Otherwise
// the differences are printed and it is 1.
//
//	primary site                                second site
//
//	source ─copy─► files, repositories ───────► files, repositories
//	                 │                              ▲
//	               rows in tracked tables           │
//	                 │                              │
//	               Postgres P ──► standby S ──log──► worker ──► Postgres H
//	                 ▲
//	               worker (ticks, counters, builds) ◄── runner
//
// It ends with a build: a CI runner of our own picks it up from the primary site's worker,
// streams its log, and uploads a file, which is then at the second site and counted for
// its project like any other.
//
// The primary site's worker also counts the files of each project. All are
// recounted in the middle of the changes, and at the end each counter is what
// its rows say.
//
// All servers are private ones, in a temporary folder; nothing that is
// configured on the machine is used. The source and the repository are only
// read: they are copied first, and their checksums are compared before and
// after.
//
// The comparison at the end reads the disks and asks no registry: what the
// second site says of itself proves nothing.
package main
