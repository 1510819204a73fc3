package file

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// stagedFile is what is copied, inside a claim's staging folder.
const stagedFile = "bytes"

// fileRun implements Run for files.
type fileRun struct {
	files     *Files
	path      string // relative to the target
	from      string // relative to the source
	stage     *folder.Stage
	mayAdopt  bool
	base      *transfer.Base
	limit     transfer.Limit
	staged    bool
	published bool
	removed   bool
}

func (r *fileRun) Copy(ctx context.Context, payload json.RawMessage) (transfer.Result, error) {
	result, err := r.copy(ctx, payload)
	if err != nil {
		return transfer.Result{}, fmt.Errorf("copy file %q: %w", r.path, err)
	}
	r.staged, r.published = true, false
	r.files.hook(transfer.PointStaged)
	return result, nil
}

func (r *fileRun) copy(ctx context.Context, payload json.RawMessage) (transfer.Result, error) {
	r.staged = false
	want, err := transfer.Expect(payload)
	if err != nil {
		return transfer.Result{}, err
	}
	if err := r.stage.Check(); err != nil {
		return transfer.Result{}, err
	}
	in, err := r.files.source.Open(ctx, r.from)
	if err != nil {
		return transfer.Result{}, err
	}
	defer in.Close()
	if err := errors.Join(want.Fits(in.Size()), r.limit.Fits(in.Size())); err != nil {
		return transfer.Result{}, err
	}
	if result, adopted, err := r.adopt(ctx, want, attributesFor(in)); adopted || err != nil {
		return result, err
	}
	out, err := r.create()
	if err != nil {
		return transfer.Result{}, err
	}
	sum, err := transfer.Stream(ctx, out, in, r.files.pace)
	if err == nil {
		// By name, which is gone before the folder is that another claim removes.
		err = r.stage.Fenced(attributesFor(in).apply(r.stage.Dir(), out, stagedFile))
	}
	// A copy is complete only when it is on disk: the rename that follows must
	// never be durable before the bytes are.
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return transfer.Result{}, r.lost(err)
	}
	if err := want.Check(ctx, in, sum); err != nil {
		return transfer.Result{}, err
	}
	return transfer.Result{Checksum: "sha256:" + hex.EncodeToString(sum), Size: in.Size()}, nil
}

// create makes the staging file, for nobody but us until it has its attributes.
func (r *fileRun) create() (*os.File, error) {
	if err := folder.RemoveTree(context.Background(), r.stage.Dir(), stagedFile); err != nil {
		return nil, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := folder.RetryOpen(func() (int, error) {
		return unix.Openat(int(r.stage.Dir().Fd()), stagedFile, flags, 0o600)
	})
	if err != nil {
		return nil, r.lost(fmt.Errorf("create staging file: %w", err))
	}
	return os.NewFile(uintptr(fd), r.stage.Dir().Name()+"/"+stagedFile), nil
}

// lost names the fence as the cause of an error where it is.
func (r *fileRun) lost(err error) error {
	if fenced := r.stage.Check(); errors.Is(fenced, transfer.ErrFenced) {
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
		return r.stage.Check()
	}
	if err := r.stage.PutInPlace(ctx, stagedFile, r.prepare, r.files.hook); err != nil {
		return err
	}
	r.published = true
	return nil
}

// prepare makes way for a file, unless its place is in a mirror.
func (r *fileRun) prepare(parent *os.File, base string) (uint, error) {
	mirror, err := r.stage.Tree().MirrorAbove(r.path)
	if err != nil {
		return 0, err
	}
	if mirror != "" {
		return 0, fmt.Errorf("%w: %s is a mirror of a repository, and no file can lie inside it", transfer.ErrOccupied, mirror)
	}
	return prepareFile(parent, base)
}

// prepareFile makes way for a file. A file is replaced by the rename itself. A
// folder that is empty goes by rmdir. One that is not holds other resources of this
// target (key "a/b", while we are "a"), and is not ours to take away: what is below
// it goes when its own removal is done. RENAME_EXCHANGE would take it along, and
// whatever is renamed into it meanwhile.
func prepareFile(parent *os.File, base string) (uint, error) {
	kind, err := folder.KindOf(int(parent.Fd()), base)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the place: %w", err)
	case kind == folder.KindLink || kind == folder.KindOther:
		return 0, kind.InTheWay(parent.Name() + "/" + base)
	case kind == folder.KindDir:
		return 0, folder.RemoveEmpty(parent, base)
	}
	return 0, nil
}

func (r *fileRun) Remove(ctx context.Context) error {
	r.removed = true
	if err := r.stage.TakeAway(ctx, r.isFile, r.files.hook); err != nil {
		return fmt.Errorf("remove file %q: %w", r.path, err)
	}
	return nil
}

// isFile is the function isFile, and false inside a mirror: what lies there is part of that.
func (r *fileRun) isFile(parent *os.File, base string) (bool, error) {
	mirror, err := r.stage.Tree().MirrorAbove(r.path)
	if mirror != "" || err != nil {
		return false, err
	}
	return isFile(parent, base)
}

// isFile is false for a folder, too: it is one of other resources.
func isFile(parent *os.File, base string) (bool, error) {
	kind, err := folder.KindOf(int(parent.Fd()), base)
	if err != nil {
		return false, fmt.Errorf("read the place: %w", err)
	}
	if kind == folder.KindLink || kind == folder.KindOther {
		return false, kind.InTheWay(parent.Name() + "/" + base)
	}
	return kind == folder.KindFile, nil
}

// Close deletes the staging, and with it what Remove took away. Folders that
// this run emptied, or made for nothing, go as well.
func (r *fileRun) Close() error {
	err := r.stage.Drop(context.Background(), r.removed || !r.published)
	if err != nil {
		return fmt.Errorf("close file %q: %w", r.path, err)
	}
	return nil
}
