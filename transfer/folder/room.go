package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// dirSuffix is what a claim's folder has behind the name of its file.
const dirSuffix = ".d"

// roomOf is where claims on a path stage: one of 256 folders, so that to list what others
// have staged on that path is to read few names.
func roomOf(hash string) string { return transfer.StagingRoot + "/" + hash[:2] }

func isRoom(name string) bool {
	return len(name) == 2 && strings.Trim(name, "0123456789abcdef") == ""
}

// stagedName is the name of a claim's file, in its room.
func stagedName(s transfer.Staged) string { return s.Folder + "." + s.Claim }

// stagedOf is what has a name in a room; false: nothing of ours.
func stagedOf(name string) (s transfer.Staged, isDir, ours bool) {
	name, isDir = strings.CutSuffix(name, dirSuffix)
	s.Folder, s.Claim, ours = strings.Cut(name, ".")
	return s, isDir, ours && s.Check() == nil
}

// makeRoom opens a room, and makes it if need be.
func makeRoom(t *Tree, name string) (*os.File, error) {
	room, err := t.OpenDir(name)
	if !errors.Is(err, unix.ENOENT) {
		return room, err
	}
	if err := mkdirPrivate(t.root, transfer.StagingRoot); err != nil {
		return nil, err
	}
	top, err := t.OpenDir(transfer.StagingRoot)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if err := mkdirPrivate(top, strings.TrimPrefix(name, transfer.StagingRoot+"/")); err != nil {
		return nil, err
	}
	return t.OpenDir(name)
}

// DropStaging deletes the staging of one claim, which may have none: its file first, for
// a folder that is made after that does not count.
func (t *Tree) DropStaging(ctx context.Context, staged transfer.Staged) error {
	room, err := t.OpenDir(roomOf(staged.Folder))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	defer room.Close()
	for _, name := range []string{stagedName(staged), stagedName(staged) + dirSuffix} {
		if err := RemoveTree(ctx, room, name); err != nil {
			return fmt.Errorf("remove staging: %w", err)
		}
	}
	return nil
}
