package replica

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Object is what positions are kept of: a project, an account, a page. Namespace
// and ID are any bytes.
type Object struct{ Namespace, ID string }

// String returns the object as people read it.
func (o Object) String() string { return fmt.Sprintf("%.64q %.64q", o.Namespace, o.ID) }

// Store keeps the positions of objects for other processes: package redisstore has
// one on Redis. It may lose everything at any time, and must then say so
// (Known.Unready): what a store does not know is never taken for "nothing there".
type Store interface {
	// Read returns what is known of objects, as a rule in one round trip, or one for each
	// server of the store, all at once. When a part of the store does not answer, the error is a
	// *PartialError, and Known tells of the others.
	Read(ctx context.Context, objects []Object) (Known, error)
	// Begin notes, before the commit of transaction xid, that each object is being
	// written. The id is that of this one write.
	Begin(ctx context.Context, objects []Object, id string, timeline int64, xid uint64) error
	// End merges the position of a write into each object's, forward only, and removes
	// the note of Begin with this id and no other, in one step for each object. The zero
	// position is a write that was rolled back.
	End(ctx context.Context, objects []Object, id string, at Position) error
	// Raise lifts the floors of objects, or all floors if there are none, to at least
	// the position, forward only, and may drop positions that the floors have reached.
	// With the claim of a Read, to is the primary's present position, asked for after it:
	// floors that were not ready then become so. When the store has lost its memory
	// since that Read, they do not, and it is an error: what was written, and lost, after
	// the position was asked for may lie beyond it.
	Raise(ctx context.Context, objects []Object, to Position, claim string) error
}

// Known is what a store knows of some objects.
type Known struct {
	// Position is the maximum of the objects' positions and of the floors that they
	// stand on: an object without a position is not above its floor.
	Position Position
	// FromFloor says that a floor is that maximum.
	FromFloor bool
	// Writing are notes of Begin without their End: of writes that are on their way, or
	// whose process died.
	Writing []Mark
	// Unready are objects whose floor is not there, or not of this memory: it was
	// wiped, is an older copy, or that of another server.
	Unready []Object
	// Claim is for Raise, to make the floors of Unready ready.
	Claim string
}

// Mark is a note of Begin.
type Mark struct {
	Object   Object
	ID       string
	Timeline int64
	XID      uint64
	// Age is by the store's own clock.
	Age time.Duration
}

// PartialError is a store of which a part did not answer. The call was done for the
// other objects.
type PartialError struct {
	// Objects are those that it was not, or perhaps not, done for.
	Objects []Object
	Err     error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("positions of %d objects: %v", len(e.Objects), e.Err)
}

func (e *PartialError) Unwrap() error { return e.Err }

// ErrStoreAway refuses a commit, with [Options.Strict], whose objects could not be
// noted in the store as being written. The transaction was rolled back.
var ErrStoreAway = errors.New("the store of positions does not answer, and Strict refuses commits without it")
