package folder

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// LinkatFunc is [unix.Linkat].
type LinkatFunc func(fromDir int, from string, toDir int, to string, flags int) error

// UseLinkat has links made by another function, for tests of a file system that has none.
// It is called before the first run.
func (r *Root) UseLinkat(linkat LinkatFunc) { r.linkat = linkat }

// NoLinks tells whether an error of a link says that the file system has no second names, or
// no more of this file.
func NoLinks(err error) bool {
	for _, is := range []error{unix.EPERM, unix.EOPNOTSUPP, unix.ENOSYS, unix.EMLINK} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// Linkat gives from/name another name, into/as. That the file system has none is told once.
func (t *Tree) Linkat(from *os.File, name string, into *os.File, as string) error {
	err := Retry(func() error { return t.of.linkat(int(from.Fd()), name, int(into.Fd()), as, 0) })
	if err == nil {
		return nil
	}
	if NoLinks(err) && !errors.Is(err, unix.EMLINK) && !t.of.linkless.Swap(true) {
		t.of.log.Warn("the target's file system has no hard links: what gets another key is copied there", "target", t.of.name, "err", err)
	}
	return &os.LinkError{Op: "link", Old: from.Name() + "/" + name, New: into.Name() + "/" + as, Err: err}
}

// Link gives a file right below a folder another name; where there are no second names it is
// copied, with all that a link would have shared, and synced.
func (t *Tree) Link(from *os.File, name string, into *os.File, as string) error {
	err := t.Linkat(from, name, into, as)
	if !NoLinks(err) {
		return err
	}
	in, err := OpenFile(from, name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := createIn(into, as, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(copyAll(out, in), out.Close()); err != nil {
		return fmt.Errorf("copy %s in place of a link: %w", in.Name(), err)
	}
	return nil
}

func copyAll(out, in *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	fd := int(out.Fd())
	// As a process may: see the attributes of copies.
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, st.Mode&0o777); err != nil {
		return err
	}
	return out.Sync()
}

// WithoutLinks tells whether the file system is known to have no hard links, and which it is.
func (r *Root) WithoutLinks() (name string, without bool) {
	var st unix.Statfs_t
	if unix.Statfs(r.name, &st) != nil {
		return "", false
	}
	switch st.Type {
	case unix.MSDOS_SUPER_MAGIC:
		return "vfat", true
	case unix.EXFAT_SUPER_MAGIC:
		return "exfat", true
	}
	return "", r.linkless.Load()
}
