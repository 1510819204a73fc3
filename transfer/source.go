package transfer

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// Source is where files come from. A caller who opens a target with it leaves it to
// that, which closes it.
type Source interface {
	// Open opens the file at a path below the source.
	Open(ctx context.Context, path string) (Object, error)
	// Check returns [ErrElsewhere] when what was the source is not there any more, and
	// [ErrAway] when it does not answer.
	Check() error
	Close() error
}

// Away is a source that is not there, for who goes on without it: Why is told of each file.
type Away struct{ Why error }

// Open implements [Source].
func (a Away) Open(context.Context, string) (Object, error) { return nil, a.Check() }

// Check implements [Source].
func (a Away) Check() error { return fmt.Errorf("%w: %w", ErrAway, a.Why) }

// Close implements [Source].
func (a Away) Close() error { return nil }

// Object is one file of a source, being read.
type Object interface {
	io.ReadCloser
	// Size is what the source said before the first read.
	Size() int64
	// Unchanged returns [ErrChanged] if the source no longer has what was opened.
	Unchanged(ctx context.Context) error
}

// Sparse is an [Object] that may have holes.
type Sparse interface {
	Object
	// Holes is the file that has them.
	Holes() *os.File
}

// Described is an [Object] of which more is known than its bytes.
type Described interface {
	Object
	// Described returns its permission bits, as narrow as the folders that it is in make
	// them, and when it was written last.
	Described() (mode uint32, written time.Time)
}
