package cifile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Position is where something stands.
type Position struct {
	File string
	Line int
}

// String returns file:line.
func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// LineError says what is wrong with a line, or not supported in it.
type LineError struct {
	At   Position
	Text string
}

// Error implements error.
func (p *LineError) Error() string { return p.At.String() + ": " + p.Text }

func problem(at Position, format string, args ...any) *LineError {
	return &LineError{at, fmt.Sprintf(format, args...)}
}

// mostProblems is how many are told at once.
const mostProblems = 20

// join returns the problems, in the order of their lines and each once, as one error.
func join(problems []*LineError) error {
	slices.SortStableFunc(problems, func(a, b *LineError) int {
		if c := strings.Compare(a.At.File, b.At.File); c != 0 {
			return c
		}
		return a.At.Line - b.At.Line
	})
	problems = slices.CompactFunc(problems, func(a, b *LineError) bool { return *a == *b })
	var errs []error
	for i, p := range problems {
		if i == mostProblems {
			errs = append(errs, fmt.Errorf("and %d more", len(problems)-i))
			break
		}
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

type kind uint8

const (
	null kind = iota
	scalar
	list
	dict
)

// String is for people.
func (k kind) String() string { return [...]string{"empty", "a value", "a list", "a map"}[k] }

// value is a piece of a CI file. It is not changed once it is made, so that several places
// may share it.
type value struct {
	at    Position
	kind  kind
	tag   string // !!str, !!int, !!bool, !!float, or !reference of a list
	text  string
	items []*value
	keys  []string
	of    map[string]field
}

// field is a key of a map.
type field struct {
	at    Position
	value *value
}

func newDict(at Position) *value { return &value{at: at, kind: dict, of: make(map[string]field)} }

// set is for a map that is being made.
func (v *value) set(key string, f field) {
	if _, there := v.of[key]; !there {
		v.keys = append(v.keys, key)
	}
	v.of[key] = f
}

// get returns the value of a key, or nil.
func (v *value) get(key string) *value {
	if v == nil || v.kind != dict {
		return nil
	}
	return v.of[key].value
}

// merge returns a map with all of both, where over goes first: maps in maps are merged,
// and anything else is replaced.
func merge(under, over *value) *value {
	if under == nil || under.kind != dict || over.kind != dict {
		return over
	}
	merged := newDict(over.at)
	for _, key := range under.keys {
		merged.set(key, under.of[key])
	}
	for _, key := range over.keys {
		f := over.of[key]
		if before, there := under.of[key]; there {
			f.value = merge(before.value, f.value)
		}
		merged.set(key, f)
	}
	return merged
}
