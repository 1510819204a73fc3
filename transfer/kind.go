package transfer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// kind is what stands at the end of a path.
type kind int

const (
	kindAbsent kind = iota
	kindFile
	kindDir
	kindLink
	kindOther
)

// inTheWay is the error for something that is not the folder it has to be.
func (k kind) inTheWay(at string) error {
	switch k {
	case kindLink:
		return fmt.Errorf("%w: %s is a symbolic link; links are not followed, remove it", ErrUnsafe, at)
	case kindFile:
		return fmt.Errorf("%w: %s is a file where a folder is needed", ErrOccupied, at)
	default:
		return fmt.Errorf("%w: %s is neither a file nor a folder; remove it", ErrUnsafe, at)
	}
}

func leafKind(parent int, base string) (kind, error) {
	st, err := statAt(parent, base)
	if errors.Is(err, unix.ENOENT) {
		return kindAbsent, nil
	}
	if err != nil {
		return kindAbsent, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return kindFile, nil
	case unix.S_IFDIR:
		return kindDir, nil
	case unix.S_IFLNK:
		return kindLink, nil
	}
	return kindOther, nil
}

func statAt(parent int, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := eintr(func() error { return unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// sameFile tells whether two handles are of one file or folder.
func sameFile(a, b *os.File) (bool, error) {
	var first, second unix.Stat_t
	err := errors.Join(unix.Fstat(int(a.Fd()), &first), unix.Fstat(int(b.Fd()), &second))
	return first.Ino == second.Ino && first.Dev == second.Dev, err
}

// absent is true for a path that leads nowhere: also one that leads through a
// file, for a file has nothing below it.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, ErrOccupied)
}
