package file

import (
	"errors"
	"fmt"
	"os"
	"time"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// attributes are what a file is besides its bytes.
type attributes struct {
	mode     uint32         // permission bits; set-id and sticky bits are not carried over
	uid, gid int            // -1: not known
	written  *unix.Timespec // when it was written last; nil: not known
}

// attributesFor are those of a file of a source.
func attributesFor(in transfer.Object) attributes {
	if file, ok := in.(interface{ attributes() attributes }); ok {
		return file.attributes()
	}
	if file, ok := in.(transfer.Described); ok {
		mode, written := file.Described()
		return attributesFrom(mode, written)
	}
	return plainAttributes
}

// attributesFrom are those of a file of another machine, whose users and groups have no
// meaning here: members of our group may do what both the group and others might there.
func attributesFrom(mode uint32, written time.Time) attributes {
	mode = mode&0o707 | (mode & (mode << 3) & 0o070)
	a := attributes{mode: mode, uid: -1, gid: -1}
	if !written.IsZero() {
		a.written = new(unix.NsecToTimespec(written.UnixNano()))
	}
	return a
}

// plainAttributes are those of what comes from where no attributes are known.
var plainAttributes = attributes{mode: 0o644, uid: -1, gid: -1}

func attributesOf(st unix.Stat_t) attributes {
	return attributes{st.Mode & 0o777, int(st.Uid), int(st.Gid), new(st.Mtim)}
}

// within is what a folder that the file is in leaves of them: who may not pass
// through it may do nothing with the file. To the folder the members of the file's
// group are others, if it is of another one.
func (a attributes) within(above unix.Stat_t) attributes {
	passes := uint32(0o001)
	if above.Mode&passes == 0 {
		a.mode &^= 0o007
	}
	if int(above.Gid) == a.gid {
		passes = 0o010
	}
	if above.Mode&passes == 0 {
		a.mode &^= 0o070
	}
	return a
}

// modeFor is the mode in a group. Where the group cannot be kept, it is another
// one, whose members were others at the source, or of the group: they may do what
// both might.
func (a attributes) modeFor(gid uint32) uint32 {
	if a.gid < 0 || int(gid) == a.gid {
		return a.mode
	}
	return a.mode&^0o070 | (a.mode & (a.mode << 3) & 0o070)
}

// apply sets them on a file of ours, dir/name, which no other user may open yet:
// owner and group as far as this process may, and the mode last, so that it is
// never wider than at the source.
func (a attributes) apply(dir, file *os.File, name string) error {
	if a.written != nil {
		times := []unix.Timespec{*a.written, *a.written}
		if err := unix.UtimesNanoAt(int(dir.Fd()), name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("set the time of %s: %w", file.Name(), err)
		}
	}
	if err := a.chown(int(file.Fd())); err != nil {
		return fmt.Errorf("set the owner of %s: %w", file.Name(), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if err := unix.Fchmod(int(file.Fd()), a.modeFor(st.Gid)); err != nil {
		return fmt.Errorf("set the mode of %s: %w", file.Name(), err)
	}
	return nil
}

// chown sets the owner, or else only the group, which a process may that belongs
// to it.
func (a attributes) chown(fd int) error {
	if a.uid < 0 {
		return nil
	}
	err := unix.Fchown(fd, a.uid, a.gid)
	if mayNot(err) {
		err = unix.Fchown(fd, -1, a.gid)
	}
	if mayNot(err) {
		return nil
	}
	return err
}

// mayNot is also true where ids of the source have no meaning here.
func mayNot(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// fit tells whether a file in place is as a copy would have been.
func (a attributes) fit(st unix.Stat_t) bool {
	own := int(st.Uid) == os.Geteuid()
	if a.uid >= 0 {
		own = int(st.Uid) == a.uid || own && os.Geteuid() != 0
	}
	return own && st.Mode == unix.S_IFREG|a.modeFor(st.Gid) && (a.written == nil || st.Mtim == *a.written)
}
