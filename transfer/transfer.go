package transfer

import (
	"context"
	"encoding/json"
	"errors"
)

// Place names what is moved.
type Place struct {
	// Prefix is the kind's folder below the target, SourcePrefix that below the
	// source; "" is the top.
	Prefix, SourcePrefix string
	// Key is the resource's path inside either.
	Key string
	// Claim is the random id (a UUID in its usual lower-case form) of the run.
	Claim string
	// Fresh says that nothing of what is in place is used: it belongs to a resource
	// that was deleted, or is damaged. A file is always copied anew; a repository is
	// cloned and exchanged.
	Fresh bool
	// Adopt says that no run has said yet what is in place, or that it should be what
	// is asked for. When that is the very file that the payload names by its SHA-256, it
	// is not copied again; a repository that no run of ours has made gives its clone what
	// it has. For folders as targets; other places are copied to all the same.
	Adopt bool
	// Base is where a copy of this very resource is, under the key that it had before; nil:
	// nowhere. What is the same there is not fetched.
	Base *Base
	// Aside is the incarnation of what is in place, where that is to become another
	// resource's copy: it is put aside before anything takes its place. 0: it is not.
	Aside int64
	// MaxSize is how many bytes a file may have; 0 is no limit.
	MaxSize int64
}

// Base is a copy in a target: in its place, or put aside.
type Base struct {
	Path        string // of the place, relative to the target
	Incarnation int64
}

// Result is what has been copied to staging and will be published.
type Result struct {
	// Checksum is "sha256:<hex>": of a file's bytes; of a repository's sorted
	// "<ref> <oid>\n" lines followed by "HEAD <oid>\n" or "HEAD ref: <ref>\n".
	Checksum string
	// Size is in bytes: the file's, or that of the repository's object files.
	Size int64
	// Held is how many of them were in place already, and not copied.
	Held int64
	// Partial says that the copy brought only what differed, and read nothing
	// else of what is in place: that may have been damaged long ago.
	Partial bool
	// State is the source's name for what it had, see [Stated]; "": it has none, or what is
	// in place tells as much.
	State string
}

// Run is what one claim does to one place: either Copy and then Publish, or
// Remove; Close in any case. A Run is not safe for concurrent use.
type Run interface {
	// Copy copies the resource to the claim's own staging. It may take hours, it
	// ends soon after ctx does, and it may be called again after an error.
	Copy(ctx context.Context, payload json.RawMessage) (Result, error)
	// Publish puts what was copied in place and makes it durable. Called again
	// after it has succeeded it does nothing.
	Publish(ctx context.Context) error
	// Remove takes the resource away from its place and makes that durable. A resource
	// that is not there is removed.
	Remove(ctx context.Context) error
	// Close deletes the claim's staging. It is called after the end of the
	// transaction that Publish or Remove was called in, whatever that end was,
	// and takes as long as deleting the staging takes.
	Close() error
}

var (
	// ErrFenced says that another run has begun on the place: the staging
	// of this one is gone. Publish and Remove had no effect. That run may also be of an
	// older claim, which came late to its Begin: a caller whose claim still holds after this
	// error gives the claim up and tries again.
	ErrFenced = errors.New("another run took over this place")
	// ErrMissing says that the source does not have the resource.
	ErrMissing = errors.New("not found at the source")
	// ErrChanged says that the source has something else than the payload says,
	// or that it changed while it was read.
	ErrChanged = errors.New("changed at the source")
	// ErrMismatch says that what is in place is not what it should be, or is not
	// there; the message says what differs. Only Verify returns it.
	ErrMismatch = errors.New("what is in place differs")
	// ErrDamaged says, together with ErrMismatch, that a copy which brings only what
	// differs would not mend it: the next one has to be Fresh.
	ErrDamaged = errors.New("it is damaged")
	// ErrBadPlace says that a prefix, key or claim can not be used. Permanent.
	ErrBadPlace = errors.New("unacceptable place")
	// ErrBadPayload says that the payload is not what this transfer needs.
	// Permanent.
	ErrBadPayload = errors.New("unacceptable payload")
	// ErrTooLarge says that the resource is larger than it may be. Permanent.
	ErrTooLarge = errors.New("too large")
	// ErrUnsafe says that a symbolic link, or something that is neither file nor
	// folder, stands in the way, in the target or in a source folder; the
	// message says where. Nothing was written through it.
	ErrUnsafe = errors.New("unsafe path")
	// ErrOccupied says that another resource stands in the way: a file where a
	// folder is needed, a folder that is not empty where a file is needed, a
	// repository inside a repository. It goes away when that resource is removed.
	ErrOccupied = errors.New("place is occupied by another resource")
	// ErrElsewhere says that the name of a source or target leads to another folder
	// than it should: to no folder, to one without the target's mark, or, in the middle of a
	// run, to another one than the run has begun in. What has been written is not under
	// the name by which it is read. It goes away when the right folder is back, or by another
	// try.
	ErrElsewhere = errors.New("another folder has the name")
	// ErrAway says that a source on another machine does not answer, says that it is not
	// all there, or does not know us: of no resource is anything known by that. It goes
	// away by another try, when somebody has seen to the source.
	ErrAway = errors.New("the source is away")
)

// Points at which a TestHook is called. Kinds may have others.
const (
	PointMade          = "begin:made"
	PointStaged        = "copy:staged"
	PointBeforePublish = "publish:before-rename"
	PointPublished     = "publish:renamed"
	PointBeforeRemove  = "remove:before-rename"
	PointRemoved       = "remove:renamed"
)
