package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Stated is a [Source] that has a name for what it has at a path: another one when it has
// something else. Its objects are [StatedObject].
type Stated interface {
	Source
	State(ctx context.Context, path string) (string, error)
}

// Listing is a [Stated] source that can tell of many paths at once.
type Listing interface {
	Stated
	// States calls told for paths, which are in the order of their bytes: i is the place of
	// one among them. An error is one of the source, and of none of them.
	States(ctx context.Context, paths []string, told func(i int, state string, err error)) error
}

// StatedObject is an [Object] of a [Stated] source.
type StatedObject interface {
	Object
	// State is what [Stated.State] said, or would have, when it was opened.
	State() string
}

// StateOf is the state of an object that has one, or "".
func StateOf(o Object) string {
	if stated, ok := o.(StatedObject); ok {
		return stated.State()
	}
	return ""
}

// Copied is what is known of a copy.
type Copied struct {
	Place    Place
	Payload  json.RawMessage
	Checksum string // as a run has returned it
	State    string // likewise
}

// ProbeState tells whether the source has something else than was copied. It reads no
// content, writes nothing, and needs no claim. A file whose payload names its SHA-256 is
// what its row says, whatever the source has: it never differs.
func ProbeState(ctx context.Context, source Source, c Copied) (differs bool, err error) {
	_, from, err := c.Place.Unclaimed()
	if err != nil {
		return false, err
	}
	stated, ok := source.(Stated)
	if !ok {
		return false, fmt.Errorf("%w: files of this source have no times that could be compared", errors.ErrUnsupported)
	}
	state, err := stated.State(ctx, from)
	return c.differs(state, err)
}

func (c Copied) differs(state string, err error) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("probe file %q: %w", c.Place.Key, err)
	}
	want, err := Expect(c.Payload)
	return err == nil && want.SHA256 == nil && state != c.State, err
}

// Lists tells whether a source tells of many files at once.
func Lists(source Source) bool {
	_, lists := source.(Listing)
	return lists
}

// ProbeStates is ProbeState for many, in the order of their keys.
func ProbeStates(ctx context.Context, source Source, copies []Copied, told func(i int, differs bool, err error)) error {
	listing, ok := source.(Listing)
	if !ok {
		return fmt.Errorf("%w: this source does not tell of many files at once", errors.ErrUnsupported)
	}
	var paths []string
	var of []int
	for i, c := range copies {
		_, from, err := c.Place.Unclaimed()
		if err != nil {
			told(i, false, err)
			continue
		}
		paths, of = append(paths, from), append(of, i)
	}
	return listing.States(ctx, paths, func(n int, state string, err error) {
		c := copies[of[n]]
		differs, err := c.differs(state, err)
		if differs || errors.Is(err, ErrMissing) {
			// A listing may be in another order than is thought, or write an ETag in another
			// way: what it says against a copy is asked of the file itself, or each round
			// would copy it anew.
			differs, err = ProbeState(ctx, source, c)
		}
		told(of[n], differs, err)
	})
}
