package folder

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// durable remembers folders whose own entry, and those of all folders above
// them, have been synced by this process. Inode and time of birth identify a
// folder: an inode number is used again. Where the file system has no time of
// birth nothing is remembered, and every publish syncs the chain.
type durable struct {
	mutex sync.Mutex
	known map[birth]struct{}
}

type birth struct {
	inode uint64
	sec   int64
	nsec  uint32
}

// identity is that of a file, which it keeps when it is renamed. Where the file system has
// no time of birth, a file that gets the number of one that was deleted is taken for it.
type identity struct {
	major, minor uint32
	birth
}

// identityAt reads that of dir/name, which is not followed; "" is dir itself.
func identityAt(dir *os.File, name string) (identity, error) {
	const flags, mask = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO | unix.STATX_BTIME
	var st unix.Statx_t
	if err := Retry(func() error { return unix.Statx(int(dir.Fd()), name, flags, mask, &st) }); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: dir.Name() + "/" + name, Err: err}
	}
	return identity{st.Dev_major, st.Dev_minor, birth{inode: st.Ino, sec: st.Btime.Sec, nsec: st.Btime.Nsec}}, nil
}

// maxDurable bounds the memory: 100,000 folders are about 5 MB.
const maxDurable = 100_000

func (d *durable) has(dir *os.File) bool {
	key, ok := birthOf(dir)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	_, known := d.known[key]
	return ok && known
}

func (d *durable) add(dir *os.File) {
	key, ok := birthOf(dir)
	if !ok {
		return
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.known == nil || len(d.known) >= maxDurable {
		d.known = make(map[birth]struct{})
	}
	d.known[key] = struct{}{}
}

func birthOf(dir *os.File) (birth, bool) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return birth{}, false
	}
	return birth{inode: st.Ino, sec: st.Btime.Sec, nsec: st.Btime.Nsec}, true
}
