package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// DropStaging deletes the staging of one claim, and returns when it is gone.
func (r *Root) DropStaging(ctx context.Context, s transfer.Staged) error {
	if err := s.Check(); err != nil {
		return err
	}
	tree, err := r.Enter()
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	defer tree.Leave()
	return tree.DropStaging(ctx, s)
}

// Prune removes the folders above a path that have become empty.
func (r *Root) Prune(path string) error {
	tree, err := r.Enter()
	if err != nil {
		return fmt.Errorf("remove empty folders: %w", err)
	}
	defer tree.Leave()
	tree.PruneParents(path)
	return nil
}

// ListStaging calls each for what is staged at present, in no order, and ends
// with its first error. It holds one page of names in memory. Staging that comes or
// goes meanwhile may be named or not; each may drop what it is called with, which may be
// named once more then. What staging would not have made is not named.
//
// A claim is committed before its staging is made. So what is named here, and is
// of no claim that is committed afterwards, is a left-over.
func (r *Root) ListStaging(ctx context.Context, each func(transfer.Staged) error) error {
	tree, err := r.Enter()
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	defer tree.Leave()
	top, err := tree.OpenDir(transfer.StagingRoot)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	defer top.Close()
	return eachName(ctx, top, isRoom, func(name string) error {
		room, err := OpenChild(top, name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil // gone meanwhile, or not a folder of ours
		}
		if err != nil {
			return fmt.Errorf("list staging: %w", err)
		}
		defer room.Close()
		return listRoom(ctx, room, each)
	})
}

// listRoom names a claim by its file, and by its folder if that is all that is left.
func listRoom(ctx context.Context, room *os.File, each func(transfer.Staged) error) error {
	ours := func(name string) bool { _, _, ours := stagedOf(name); return ours }
	return eachName(ctx, room, ours, func(name string) error {
		staged, isDir, _ := stagedOf(name)
		if isDir {
			if kind, err := KindOf(int(room.Fd()), stagedName(staged)); err != nil || kind != KindAbsent {
				return err
			}
		}
		return each(staged)
	})
}

// eachName calls each for the names in dir that are wanted, and checks ctx
// before each of them.
func eachName(ctx context.Context, dir *os.File, wanted func(string) bool, each func(string) error) error {
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !wanted(name) {
				continue
			}
			if err := each(name); err != nil {
				return err
			}
		}
		// A folder that was deleted while it was read has no more names.
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list staging: %w", err)
		}
	}
}
