package counter

import "casq/eventlog"

// stamp is a position as Redis keeps it.
type stamp string

func stampOf(p eventlog.Position) stamp {
	text, _ := p.MarshalText() // any position has a text
	return stamp(text)
}

// position is the inverse of stampOf.
func (s stamp) position() (p eventlog.Position, err error) {
	err = p.UnmarshalText([]byte(s))
	return p, err
}
