// Package recount counts a table anew while its counters change, and swaps the sums in.
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
// request.go stores what is asked for, scan.go sums up on one host after another
// (view.go in one snapshot, parts.go in several), finalize.go swaps in. adopt.go says
// which recount's turn it is, and which one needs a job again.
//
// The DESIGN.md of package counter has the guarantee, the failure story and what was
// rejected.
package recount
