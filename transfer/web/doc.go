// Package web is a source of files on another machine, over HTTPS: what a worker there
// serves (package casq/transfer/serve), or any server that sends files with their length and
// a strong ETag.
//
// A download that is interrupted goes on from where it was, for as long as the server has
// the same file by its ETag. What a server says is believed as far as it can be checked:
// bytes count by the event's SHA-256, or else by an ETag that is the same before and after.
// Redirects are not followed, so that nobody but the server that was named gets the token.
//
// Not found is an answer about one file. Everything else that keeps a server from answering,
// a wrong token included, is [casq/transfer.ErrAway], and says nothing of any file.
package web
