// Package runner is a build queue on Postgres that unmodified GitLab runners work from.
//
// # Guarantee
//
// Each build that is committed to the queue is handed to a runner that waits for it, and
// to one at a time: an attempt is a lease with a token of its own, so that what an
// earlier attempt still says is refused. No runner that would take a build is told that
// there is nothing new while it lies there. DESIGN.md tells why that holds with standbys
// that are late and without Redis, and after a crash at any place.
package runner
