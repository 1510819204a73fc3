package folder

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadSmall reads a regular file of at most 64 KiB right below dir.
func ReadSmall(dir *os.File, name string) (string, error) {
	file, err := OpenFile(dir, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, 64<<10))
	return string(content), err
}

// OpenFile opens a regular file right below dir for reading.
func OpenFile(dir *os.File, name string) (*os.File, error) {
	at := dir.Name() + "/" + name
	kind, err := KindOf(int(dir.Fd()), name)
	switch {
	case err != nil:
		return nil, &os.PathError{Op: "stat", Path: at, Err: err}
	case kind == KindAbsent:
		return nil, &os.PathError{Op: "open", Path: at, Err: unix.ENOENT}
	case kind == KindDir:
		return nil, &os.PathError{Op: "open", Path: at, Err: unix.EISDIR}
	case kind != KindFile:
		return nil, kind.InTheWay(at)
	}
	fd, err := RetryOpen(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, fileFlags|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: at, Err: err}
	}
	return os.NewFile(uintptr(fd), at), nil
}

// WriteFile writes a new file right below dir and syncs it.
func WriteFile(dir *os.File, name, content string) error {
	if err := RemoveTree(context.Background(), dir, name); err != nil {
		return err
	}
	file, err := createFile(dir, name)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func createFile(dir *os.File, name string) (*os.File, error) { return createIn(dir, name, 0o644) }

// createIn makes a file that is not there.
func createIn(dir *os.File, name string, mode uint32) (*os.File, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := RetryOpen(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, flags, mode)
	})
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
}

// CopyFile writes what is left to read of a file to a new one right below dir.
func CopyFile(from io.Reader, dir *os.File, name string) error {
	if err := RemoveTree(context.Background(), dir, name); err != nil {
		return err
	}
	file, err := createFile(dir, name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
