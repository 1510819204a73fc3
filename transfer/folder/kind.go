package folder

import (
	"errors"
	"fmt"
	"os"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Kind is what stands at the end of a path.
type Kind int

// What may stand there.
const (
	KindAbsent Kind = iota
	KindFile
	KindDir
	KindLink
	KindOther
)

// InTheWay is the error for something that is not the folder it has to be.
func (k Kind) InTheWay(at string) error {
	switch k {
	case KindLink:
		return fmt.Errorf("%w: %s is a symbolic link; links are not followed, remove it", transfer.ErrUnsafe, at)
	case KindFile:
		return fmt.Errorf("%w: %s is a file where a folder is needed", transfer.ErrOccupied, at)
	default:
		return fmt.Errorf("%w: %s is neither a file nor a folder; remove it", transfer.ErrUnsafe, at)
	}
}

// KindOf tells what stands at parent/base, which is not followed.
func KindOf(parent int, base string) (Kind, error) {
	st, err := StatAt(parent, base)
	if errors.Is(err, unix.ENOENT) {
		return KindAbsent, nil
	}
	if err != nil {
		return KindAbsent, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return KindFile, nil
	case unix.S_IFDIR:
		return KindDir, nil
	case unix.S_IFLNK:
		return KindLink, nil
	}
	return KindOther, nil
}

// StatAt reads what is at parent/name, which is not followed.
func StatAt(parent int, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := Retry(func() error { return unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// SameFile tells whether two handles are of one file or folder.
func SameFile(a, b *os.File) (bool, error) {
	var first, second unix.Stat_t
	err := errors.Join(unix.Fstat(int(a.Fd()), &first), unix.Fstat(int(b.Fd()), &second))
	return first.Ino == second.Ino && first.Dev == second.Dev, err
}

// Absent is true for a path that leads nowhere: also one that leads through a
// file, for a file has nothing below it.
func Absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, transfer.ErrOccupied)
}
