package transfer

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Names inside a claim's staging folder.
const (
	stagedFile    = "bytes"
	stagedRemoved = "removed"
)

// fileRun implements Run for files.
type fileRun struct {
	files     *Files
	path      string // relative to the target
	from      string // relative to the source
	stage     *stage
	mayAdopt  bool
	limit     limit
	staged    bool
	published bool
	removed   bool
}

func (r *fileRun) Copy(ctx context.Context, payload json.RawMessage) (Result, error) {
	result, err := r.copy(ctx, payload)
	if err != nil {
		return Result{}, fmt.Errorf("copy file %q: %w", r.path, err)
	}
	r.staged, r.published = true, false
	r.files.hook(pointStaged)
	return result, nil
}

func (r *fileRun) copy(ctx context.Context, payload json.RawMessage) (Result, error) {
	r.staged = false
	want, err := expect(payload)
	if err != nil {
		return Result{}, err
	}
	if err := r.stage.check(); err != nil {
		return Result{}, err
	}
	in, err := r.files.source.Open(ctx, r.from)
	if err != nil {
		return Result{}, err
	}
	defer in.Close()
	if err := errors.Join(want.fits(in.Size()), r.limit.fits(in.Size())); err != nil {
		return Result{}, err
	}
	if result, adopted, err := r.adopt(ctx, want, attributesFor(in)); adopted || err != nil {
		return result, err
	}
	out, err := r.create()
	if err != nil {
		return Result{}, err
	}
	sum, err := stream(ctx, out, in, r.files.pace)
	if err == nil {
		// By name, which is gone before the folder is that another claim removes.
		err = r.stage.fenced(attributesFor(in).apply(r.stage.Dir(), out, stagedFile))
	}
	// A copy is complete only when it is on disk: the rename that follows must
	// never be durable before the bytes are.
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return Result{}, r.lost(err)
	}
	if err := want.check(ctx, in, sum); err != nil {
		return Result{}, err
	}
	return Result{Checksum: "sha256:" + hex.EncodeToString(sum), Size: in.Size()}, nil
}

// create makes the staging file, for nobody but us until it has its attributes.
func (r *fileRun) create() (*os.File, error) {
	if err := removeTree(context.Background(), r.stage.Dir(), stagedFile); err != nil {
		return nil, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retryInterrupted(func() (int, error) {
		return unix.Openat(int(r.stage.Dir().Fd()), stagedFile, flags, 0o600)
	})
	if err != nil {
		return nil, r.lost(fmt.Errorf("create staging file: %w", err))
	}
	return os.NewFile(uintptr(fd), r.stage.Dir().Name()+"/"+stagedFile), nil
}

// lost names the fence as the cause of an error where it is.
func (r *fileRun) lost(err error) error {
	if fenced := r.stage.check(); errors.Is(fenced, ErrFenced) {
		return fmt.Errorf("%w: %w", fenced, err)
	}
	return err
}

func (r *fileRun) Publish(ctx context.Context) error {
	if err := r.publish(ctx); err != nil {
		return fmt.Errorf("publish file %q: %w", r.path, err)
	}
	return nil
}

func (r *fileRun) publish(ctx context.Context) error {
	if !r.staged {
		return errors.New("nothing has been copied")
	}
	if r.published {
		return r.stage.check()
	}
	if err := r.stage.putInPlace(ctx, stagedFile, r.prepare, r.files.hook); err != nil {
		return err
	}
	r.published = true
	return nil
}

// prepare makes way for a file, unless its place is in a mirror.
func (r *fileRun) prepare(parent *os.File, base string) (uint, error) {
	mirror, err := r.stage.Tree().mirrorAbove(r.path)
	if err != nil {
		return 0, err
	}
	if mirror != "" {
		return 0, fmt.Errorf("%w: %s is a mirror of a repository, and no file can lie inside it", ErrOccupied, mirror)
	}
	return prepareFile(parent, base)
}

// prepareFile makes way for a file. A file is replaced by the rename itself. A
// folder that is empty goes by rmdir. One that is not holds other resources of this
// target (key "a/b", while we are "a"), and is not ours to take away: what is below
// it goes when its own removal is done. RENAME_EXCHANGE would take it along, and
// whatever is renamed into it meanwhile.
func prepareFile(parent *os.File, base string) (uint, error) {
	kind, err := leafKind(int(parent.Fd()), base)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the place: %w", err)
	case kind == kindLink || kind == kindOther:
		return 0, kind.inTheWay(parent.Name() + "/" + base)
	case kind == kindDir:
		return 0, removeEmpty(parent, base)
	}
	return 0, nil
}

func (r *fileRun) Remove(ctx context.Context) error {
	r.removed = true
	if err := r.stage.takeAway(ctx, stagedRemoved, r.isFile, r.files.hook); err != nil {
		return fmt.Errorf("remove file %q: %w", r.path, err)
	}
	return nil
}

// isFile is the function isFile, and false inside a mirror: what lies there is part of that.
func (r *fileRun) isFile(parent *os.File, base string) (bool, error) {
	mirror, err := r.stage.Tree().mirrorAbove(r.path)
	if mirror != "" || err != nil {
		return false, err
	}
	return isFile(parent, base)
}

// isFile is false for a folder, too: it is one of other resources.
func isFile(parent *os.File, base string) (bool, error) {
	kind, err := leafKind(int(parent.Fd()), base)
	if err != nil {
		return false, fmt.Errorf("read the place: %w", err)
	}
	if kind == kindLink || kind == kindOther {
		return false, kind.inTheWay(parent.Name() + "/" + base)
	}
	return kind == kindFile, nil
}

// Close deletes the staging, and with it what Remove took away. Folders that
// this run emptied, or made for nothing, go as well.
func (r *fileRun) Close() error {
	err := r.stage.drop(context.Background(), r.removed || !r.published)
	if err != nil {
		return fmt.Errorf("close file %q: %w", r.path, err)
	}
	return nil
}
