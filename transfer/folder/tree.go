package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Tree is a folder below which everything is reached by handle, one component
// after the other, and no symbolic link is followed. The folder's own path may
// contain links: the operator wrote it.
type Tree struct {
	root *os.File
	name string // for messages
	// mounts allows other file systems below the root: true for a source, false
	// for a target, where rename has to work.
	mounts bool
	// walk is true where openat2 is missing (before Linux 5.6) or forbidden (older
	// container run-times answer EPERM).
	walk    bool
	durable durable
	flushes flushes

	of       *Root
	dev, ino uint64
	mounted  bool                          // something is mounted right here
	users    int                           // guarded by of.mu
	mark     atomic.Pointer[transfer.Mark] // see Root
	markSeen atomic.Pointer[seenMark]
}

const (
	dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	// A FIFO must not block whoever opens it.
	fileFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
)

func openTree(name string, mounts bool) (*Tree, error) {
	fd, err := RetryOpen(func() (int, error) { return unix.Open(name, dirFlags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	t := &Tree{root: os.NewFile(uintptr(fd), name), name: name, mounts: mounts, mounted: isMounted(fd), flushes: newFlushes()}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = t.root.Close()
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	t.dev, t.ino = st.Dev, st.Ino
	probe, err := t.openat2(".", dirFlags)
	switch {
	case err == nil:
		_ = unix.Close(probe)
	case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM):
		t.walk = true
	default:
		_ = t.root.Close()
		return nil, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	return t, nil
}

func (t *Tree) close() error { return t.root.Close() }

// Name is the folder's, for messages.
func (t *Tree) Name() string { return t.name }

// OpenDir opens the folder at rel; "." is the root.
func (t *Tree) OpenDir(rel string) (*os.File, error) { return t.Open(rel, dirFlags) }

// OpenFile opens the file at rel for reading, or whatever else is there.
func (t *Tree) OpenFile(rel string) (*os.File, error) { return t.Open(rel, fileFlags) }

// Open opens what is at rel for reading. The error is a bare errno in a
// PathError, ErrUnsafe or ErrOccupied.
func (t *Tree) Open(rel string, flags int) (*os.File, error) {
	opener := t.openat2
	if t.walk {
		opener = t.openWalk
	}
	fd, err := RetryOpen(func() (int, error) { return opener(rel, flags) })
	if err != nil {
		return nil, t.explain(rel, err)
	}
	return os.NewFile(uintptr(fd), t.name+"/"+rel), nil
}

func (t *Tree) openat2(rel string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if !t.mounts {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	return unix.Openat2(int(t.root.Fd()), rel, &how)
}

// openWalk is openat2 in steps. Each one names a single component that is
// neither ".." nor followed, so none of them can leave the tree.
func (t *Tree) openWalk(rel string, flags int) (int, error) {
	parent := int(t.root.Fd())
	components := strings.Split(rel, "/")
	for i, component := range components {
		step := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
		if i == len(components)-1 {
			step = flags
		}
		fd, err := unix.Openat(parent, component, step|unix.O_NOFOLLOW, 0)
		if i > 0 {
			_ = unix.Close(parent)
		}
		if err != nil {
			return -1, err
		}
		if !t.mounts && !t.sameDevice(fd) {
			_ = unix.Close(fd)
			return -1, unix.EXDEV
		}
		parent = fd
	}
	return parent, nil
}

func (t *Tree) sameDevice(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Dev == t.dev
}

// explain turns the errno of an open into an error that says which component
// is in the way. It is only for the message: the open has failed already.
func (t *Tree) explain(rel string, errno error) error {
	plain := &fs.PathError{Op: "open", Path: t.name + "/" + rel, Err: errno}
	switch {
	case errors.Is(errno, unix.EXDEV):
		return fmt.Errorf("%w: a mount point lies below %s; the target has to be one file system",
			plain, t.name)
	case !errors.Is(errno, unix.ELOOP) && !errors.Is(errno, unix.ENOTDIR):
		return plain
	}
	parent := int(t.root.Fd())
	at := t.name
	for component := range strings.SplitSeq(rel, "/") {
		at = path.Join(at, component)
		kind, err := KindOf(parent, component)
		if err == nil && kind != KindDir && kind != KindAbsent {
			return kind.InTheWay(at)
		}
		fd, err := unix.Openat(parent, component, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return plain
		}
		defer unix.Close(fd)
		parent = fd
	}
	return plain
}

// makeDirs opens the folder at rel and makes what is missing of it. When it
// returns, the whole chain of folders is on disk. ENOENT means that somebody
// else removed an empty folder of the chain meanwhile: try again.
func (t *Tree) makeDirs(rel string) (*os.File, error) {
	dir, err := t.OpenDir(rel)
	if err == nil && (rel == "." || t.durable.has(dir)) {
		return dir, nil
	}
	if err == nil {
		_ = dir.Close()
	} else if !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	parent, err := t.OpenDir(".")
	if err != nil {
		return nil, err
	}
	at := ""
	for component := range strings.SplitSeq(rel, "/") {
		at = path.Join(at, component)
		child, err := t.makeDir(parent, component, at)
		_ = parent.Close()
		if err != nil {
			return nil, err
		}
		parent = child
	}
	return parent, nil
}

// makeDir opens parent/component and makes it if need be. The parent is
// synced even if somebody else made the folder: that one may not have come to it.
func (t *Tree) makeDir(parent *os.File, component, at string) (*os.File, error) {
	err := Retry(func() error { return unix.Mkdirat(int(parent.Fd()), component, 0o755) })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: t.name + "/" + at, Err: err}
	}
	child, err := t.OpenDir(at)
	if err != nil {
		return nil, err
	}
	if t.durable.has(child) {
		return child, nil
	}
	if err := parent.Sync(); err != nil {
		_ = child.Close()
		return nil, err
	}
	t.durable.add(child)
	return child, nil
}

// PruneParents removes the folders above rel that have become empty. rmdir
// itself decides what is empty, so it can take nothing away from anybody; a
// publisher whose parent vanished makes it again.
func (t *Tree) PruneParents(rel string) {
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		parent, err := t.OpenDir(path.Dir(dir))
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return
		}
		err = unix.Unlinkat(int(parent.Fd()), path.Base(dir), unix.AT_REMOVEDIR)
		_ = parent.Close()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return
		}
	}
}

// RetryOpen repeats a call that a signal interrupted: the Go runtime
// sends itself signals, and FUSE and NFS answer them with EINTR. EAGAIN is
// openat2's word for a rename that passed by.
func RetryOpen(call func() (int, error)) (int, error) {
	for again := 0; ; again++ {
		fd, err := call()
		if errors.Is(err, unix.EINTR) || (errors.Is(err, unix.EAGAIN) && again < 100) {
			continue
		}
		return fd, err
	}
}

// Retry repeats a call that a signal interrupted.
func Retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
