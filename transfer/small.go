package transfer

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// readSmall reads a regular file of at most 64 KiB right below dir.
func readSmall(dir *os.File, name string) (string, error) {
	file, err := openFile(dir, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, 64<<10))
	return string(content), err
}

// openFile opens a regular file right below dir for reading.
func openFile(dir *os.File, name string) (*os.File, error) {
	at := dir.Name() + "/" + name
	kind, err := leafKind(int(dir.Fd()), name)
	switch {
	case err != nil:
		return nil, &os.PathError{Op: "stat", Path: at, Err: err}
	case kind == kindAbsent:
		return nil, &os.PathError{Op: "open", Path: at, Err: unix.ENOENT}
	case kind == kindDir:
		return nil, &os.PathError{Op: "open", Path: at, Err: unix.EISDIR}
	case kind != kindFile:
		return nil, kind.inTheWay(at)
	}
	fd, err := retryInterrupted(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, fileFlags|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: at, Err: err}
	}
	return os.NewFile(uintptr(fd), at), nil
}

// writeFile writes a new file right below dir and syncs it.
func writeFile(dir *os.File, name, content string) error {
	if err := removeTree(context.Background(), dir, name); err != nil {
		return err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retryInterrupted(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, flags, 0o644)
	})
	if err != nil {
		return &os.PathError{Op: "create", Path: dir.Name() + "/" + name, Err: err}
	}
	file := os.NewFile(uintptr(fd), dir.Name()+"/"+name)
	_, err = file.WriteString(content)
	return errors.Join(err, file.Sync(), file.Close())
}
