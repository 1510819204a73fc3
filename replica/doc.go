// Package replica reads from standbys without ever being stale for what was
// written.
//
// A [DB] is a primary and some standbys. A [Session] is one request: it names the
// objects that it deals with ([Session.Watch]), or carries a token from the last
// request ([Session.Carry]), and reads through [Session.Read], or through the DB's own
// methods with the session in the context ([NewContext]). A read goes to a standby that
// has everything the session may expect; else, after a wait of milliseconds, to the
// primary.
//
// # Guarantee
//
// A read of a session shows every commit that the session itself made, that its
// tokens stand for, and, with a [Store], that any process made through this package to
// an object that the session watches, and that was acknowledged before the session's
// first read since [Session.Watch] named the object: the store is asked then, once for
// a request. What is lost in a failover is lost to all alike.
//
// # How
//
// A [Position] is a place in the primary's log. After each commit, and only then, the
// primary is asked for it. A session keeps the maximum of what it wrote, of its
// tokens, and of what the store knows of its objects; no object replaces another. Every
// choice of a host, also a second one after an error, meets that maximum.
//
// A standby is proven by the connection that the read is sent on, not by its address:
// see server.go. What a standby was once known to have replayed, it has for as long as
// the connection is open; so a fresh answer is needed only for a newer position.
//
// # What fails
//
//   - A standby that is late, hangs, dies, or was promoted: another one, or the primary.
//   - A commit whose answer is lost: the session is unresolved. Its next read, and that
//     of the session that carries its token, is from the primary.
//   - A failover: positions of an older timeline are covered by every host that shows the
//     new one. A token of a timeline that the primary does not know is foreign: the
//     primary, for that session.
//   - A store that is away, was wiped, or is an older copy: reads of watched objects go
//     to the primary until its floors are raised again.
//
// DESIGN.md tells why it is done so.
package replica
