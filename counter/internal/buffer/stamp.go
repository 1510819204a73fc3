package buffer

import "casq/eventlog"

// Stamp is a position as Redis keeps it.
type Stamp string

// StampOf returns the stamp of a position.
func StampOf(p eventlog.Position) Stamp {
	text, _ := p.MarshalText() // any position has a text
	return Stamp(text)
}

// Position is the inverse of [StampOf].
func (s Stamp) Position() (p eventlog.Position, err error) {
	err = p.UnmarshalText([]byte(s))
	return p, err
}

// Stamps are what a shard in Redis says of itself; empty: missing.
type Stamps struct {
	Base, Head             Stamp // of pending
	FrozenBase, FrozenHead Stamp
}

// Fits tells whether the shard is intact, and continues what Postgres has.
func (s Stamps) Fits(flushed Stamp) bool {
	return s.Base != "" && s.Head != "" && s.FrozenHead == s.Base && s.FrozenBase != "" &&
		(s.FrozenBase == flushed || s.FrozenHead == flushed)
}

// Idle tells that there is nothing to flush.
func (s Stamps) Idle() bool { return s.Base == s.Head && s.FrozenBase == s.FrozenHead }
