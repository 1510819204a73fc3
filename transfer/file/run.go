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
)

// stagedLink is what is there already, and was linked into a claim's staging folder.
const stagedLink = "bytes"

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
	name      string // of what is staged, in the staging folder; "": the own file
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
	r.staged, r.name = false, ""
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
	state := ""
	if r.files.SourceFolder() == nil { // else the copy tells
		state = transfer.StateOf(in)
	}
	if result, adopted, err := r.adopt(ctx, want, attributesFor(in)); adopted || err != nil {
		result.State = state
		return result, err
	}
	sum, err := r.fill(ctx, in)
	if err != nil {
		return transfer.Result{}, r.lost(err)
	}
	if err := want.Check(ctx, in, sum); err != nil {
		return transfer.Result{}, err
	}
	return transfer.Result{Checksum: "sha256:" + hex.EncodeToString(sum), Size: in.Size(), State: state}, nil
}

// fill copies into the staging file, which is for nobody but us until it has its attributes.
func (r *fileRun) fill(ctx context.Context, in transfer.Object) (sum []byte, err error) {
	out, parent, name, err := r.stage.OpenFile()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if sum, err = transfer.Stream(ctx, out, in, r.files.pace); err != nil {
		return nil, err
	}
	// By name, which is gone when another claim has removed it.
	if err := attributesFor(in).apply(parent, out, name); err != nil {
		return nil, r.stage.Fenced(err)
	}
	// A copy is complete only when it is on disk: the rename that follows must
	// never be durable before the bytes are.
	if in.Size() > flushedAlone {
		return sum, out.Sync()
	}
	return sum, r.stage.Tree().Flush(out.Sync)
}

// flushedAlone is from how many bytes on a file is not flushed with others, which would wait
// for it.
const flushedAlone = 1 << 20

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
	if r.published && r.name != "" {
		return r.stage.Check()
	}
	if err := r.stage.PutInPlace(ctx, r.name, r.prepare, r.files.hook); err != nil {
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
