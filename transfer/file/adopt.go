package file

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"

	"casq/transfer"
	"casq/transfer/folder"
)

// adopt stages what is there already, when that is a file of the sum that the event names,
// as a run would have put it there, with the attributes that the source has: in place,
// where no run has said what that is, or under the key that the resource had before. It is
// staged as another name of the same file. Where it is in place, the rename that publishes
// it then changes nothing, and still fails when the staging is gone. What differs in any
// way, or cannot be linked, is no error: it is copied.
func (r *fileRun) adopt(ctx context.Context, want transfer.Expectation, wanted attributes) (result transfer.Result, adopted bool, err error) {
	if want.SHA256 == nil {
		return result, false, nil
	}
	if r.mayAdopt {
		if result, adopted, err = r.adoptFile(ctx, want, r.linkPlace(wanted)); adopted || err != nil {
			return result, adopted, err
		}
	}
	if r.base != nil {
		return r.adoptFile(ctx, want, r.linkBase(wanted))
	}
	return result, false, nil
}

// adoptFile reads what is staged; nil is nothing.
func (r *fileRun) adoptFile(ctx context.Context, want transfer.Expectation, in *placedFile) (result transfer.Result, adopted bool, err error) {
	if in == nil {
		return result, false, nil
	}
	defer in.Close()
	if want.Fits(in.Size()) != nil {
		return result, false, nil
	}
	sum, err := transfer.Stream(ctx, io.Discard, in, r.files.pace)
	switch {
	case ctx.Err() != nil:
		return result, false, context.Cause(ctx)
	case err != nil || !bytes.Equal(sum, want.SHA256):
		return result, false, nil
	}
	// It is not known to be on disk.
	if err := in.Sync(); err != nil {
		return result, false, fmt.Errorf("sync what is in place: %w", err)
	}
	r.name = stagedLink
	return transfer.Result{Checksum: "sha256:" + hex.EncodeToString(sum), Size: in.Size(), Held: in.Size()}, true, nil
}

// placedFile is what is in place and staged.
type placedFile struct {
	*os.File
	bytes int64
}

// Size implements [transfer.Object].
func (f *placedFile) Size() int64 { return f.bytes }

// Unchanged implements [transfer.Object].
func (f *placedFile) Unchanged(context.Context) error { return nil }

// linkPlace names what is in place in the staging as well; nil if it cannot be
// had, or is not as a run of ours would have made it. Begin has fenced every run
// that could exchange it; a file that has other names could still be written to by
// them.
func (r *fileRun) linkPlace(wanted attributes) *placedFile {
	parent, err := r.stage.Tree().OpenDir(path.Dir(r.path))
	if err != nil {
		return nil
	}
	defer parent.Close()
	base := path.Base(r.path)
	if st, err := folder.StatAt(int(parent.Fd()), base); err != nil || !wanted.fit(st) || st.Nlink != 1 {
		return nil
	}
	if r.link(parent, base) != nil {
		return nil
	}
	return r.openLinked(wanted)
}

// linkBase names the copy that is in place under the key that the resource had in the
// staging as well. It may have the names of what was put aside, and of another run.
func (r *fileRun) linkBase(wanted attributes) *placedFile {
	if r.stage.OpenBase(r.base, r.link) != nil {
		return nil
	}
	return r.openLinked(wanted)
}

func (r *fileRun) link(parent *os.File, name string) error {
	if err := r.stage.MakeDir(); err != nil {
		return err
	}
	if err := folder.RemoveTree(context.Background(), r.stage.Dir(), stagedLink); err != nil {
		return err
	}
	return r.stage.Tree().Link(parent, name, r.stage.Dir(), stagedLink)
}

// openLinked opens what is staged; nil if it is not as a run of ours would have made it.
func (r *fileRun) openLinked(wanted attributes) *placedFile {
	if st, err := folder.StatAt(int(r.stage.Dir().Fd()), stagedLink); err != nil || !wanted.fit(st) {
		return nil
	}
	file, err := folder.OpenFile(r.stage.Dir(), stagedLink)
	if err != nil {
		return nil
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = file.Close()
		return nil
	}
	return &placedFile{file, info.Size()}
}
