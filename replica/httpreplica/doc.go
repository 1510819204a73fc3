// Package httpreplica gives each HTTP request a session of package replica:
//
//	handler = httpreplica.Middleware{DB: db, Objects: objects, Header: "X-Position"}.Wrap(handler)
//
// The session watches the objects of the request, has the token that the client
// brought, and is in the request's context. What it has met by then goes out with the
// first byte of the answer, as a new token.
//
// # The token
//
// A header suits clients that are programs. A cookie suits browsers; it is HttpOnly,
// Secure unless Insecure is set, SameSite=Lax, and signed if there are Keys: the first
// key signs, all of them are accepted. To rotate them, put the new one in front, and take
// the old one out a MaxAge later.
//
// Whatever comes as a token, the request does not fail. What is garbage, oversized,
// not signed by one of the keys, of another cluster or of a future sends this request's
// reads to the primary, and is replaced by a good token. So a mistake with the keys is
// never a stale read. A position is no secret and no right: without a signature a client
// can make up one, and have what it would have by sending garbage.
//
// A token goes out when it says more than the one that came. Answers to requests of one
// client that overlap may arrive in any order: a program keeps the tokens of all answers
// that it does not know the order of, and sends them all, in several headers or with
// commas. A browser has one cookie, the last that came; where that matters, have a store
// for the positions of objects.
//
// # Answers that begin before they end
//
// Header and cookie must go out before the body. So the token has what was met until
// the handler's first write, flush, or hijack: a handler writes to the database first and
// answers then. What is met afterwards is in no header. With [Middleware.Trailer] it
// goes out as a trailer, for clients that read those (browsers do not), and only
// where the protocol has trailers (HTTP/2, or chunks). A hijacked connection gets no
// token at all: its protocol carries [replica.Session.Token] itself.
//
// An answer from a cache would bring an old token back: one that carries a token is
// "private, no-cache" where the handler has set no Cache-Control.
package httpreplica
