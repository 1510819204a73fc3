// Package runnerclient is a CI runner without a machine, for programs and tests: it asks
// for builds, reports of them and uploads as docs/runner-protocol.md says that runners do,
// tries again what may be tried again, and sends twice what it has no answer to. What a
// build does in the meantime is its caller's to say.
package runnerclient
