package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// maxRemovals bounds how often a folder is emptied that fills up again. A dying
// writer (a killed git) adds a few entries at most.
const maxRemovals = 1000

// RemoveTree deletes parent/name and everything below it, and returns when it
// is gone. Links are unlinked, never followed. A folder that somebody still
// writes to is emptied until rmdir succeeds: from then on the writer gets ENOENT.
func RemoveTree(ctx context.Context, parent *os.File, name string) error {
	for range maxRemovals {
		err := Retry(func() error { return unix.Unlinkat(int(parent.Fd()), name, 0) })
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EISDIR) {
			return &fs.PathError{Op: "unlink", Path: parent.Name() + "/" + name, Err: err}
		}
		err = emptyDir(ctx, parent, name)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // it was a folder a moment ago
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		err = Retry(func() error { return unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR) })
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return &fs.PathError{Op: "rmdir", Path: parent.Name() + "/" + name, Err: err}
		}
	}
	return fmt.Errorf("remove %s/%s: somebody keeps writing to it", parent.Name(), name)
}

func emptyDir(ctx context.Context, parent *os.File, name string) error {
	dir, err := OpenChild(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := dir.Readdirnames(512)
		for _, entry := range names {
			if err := RemoveTree(ctx, dir, entry); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// RemoveEmpty removes the folder parent/name if there are only empty folders
// in it. rmdir decides, so a file that is renamed into it meanwhile stays.
func RemoveEmpty(parent *os.File, name string) error {
	dir, err := OpenChild(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, entry := range names {
		kind, err := KindOf(int(dir.Fd()), entry)
		if err != nil {
			return err
		}
		if kind != KindDir && kind != KindAbsent {
			return fmt.Errorf("%w: %s is a folder that holds %s; resources below it have to be removed first",
				transfer.ErrOccupied, dir.Name(), entry)
		}
		if err := RemoveEmpty(dir, entry); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	err = Retry(func() error { return unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR) })
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %s is a folder that is being filled", transfer.ErrOccupied, dir.Name())
	}
	return err
}

// OpenChild opens one folder right below parent.
func OpenChild(parent *os.File, name string) (*os.File, error) {
	fd, err := RetryOpen(func() (int, error) {
		return unix.Openat(int(parent.Fd()), name, dirFlags|unix.O_NOFOLLOW, 0)
	})
	at := parent.Name() + "/" + name
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	return os.NewFile(uintptr(fd), at), nil
}

// Rename moves between two folders that are held open. There is no fall-back
// to a copy, which could not be fenced.
func Rename(from *os.File, name string, to *os.File, target string, flags uint) error {
	err := Retry(func() error {
		return unix.Renameat2(int(from.Fd()), name, int(to.Fd()), target, flags)
	})
	if err == nil {
		return nil
	}
	linkErr := &os.LinkError{Op: "rename", Old: from.Name() + "/" + name, New: to.Name() + "/" + target, Err: err}
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%w: a mount point lies below the target; it has to be one file system", linkErr)
	}
	return linkErr
}
