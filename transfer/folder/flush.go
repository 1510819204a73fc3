package folder

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// flushes make what many runs have written durable at once: while one flush is under way,
// those who ask wait for the next one, which begins when all of them have written. Few
// are flushed each by itself, by fsync; many by one syncfs.
//
// A syncfs writes whatever else is dirty in the file system, and takes as long as that:
// when one was slow, it is left for a while. It tells of an error once, to whoever asks
// next, which may not be the run whose bytes are lost: after the first error everything is
// flushed by itself, as a file's own fsync tells of all errors since it was opened. See
// "Flushes" in DESIGN.md.
//
// mu guards next. turn is held during a flush, and guards what is below it.
type flushes struct {
	mu   sync.Mutex
	next *flush

	turn   sync.Mutex
	usable func(root *os.File) bool // whether one flush of all is worth as much as each
	all    func(root *os.File) error
	many   int           // from how many on
	asked  bool          // usable was
	may    bool          // and what it has said, until there is an error
	slow   time.Time     // until then all is flushed by itself
	rest   time.Duration // as long as that was set for last
}

// flush is one for several.
type flush struct {
	n    int
	done chan struct{}
	each bool // everybody has to do it for himself
	err  error
}

const (
	// manyFlushes is from how many on one syncfs takes less than an fsync of each.
	manyFlushes = 4
	// slowFlush is what one may take, and flushRest how long each is flushed by itself
	// after one that took longer, and twice as long after the next such one, up to mostRest.
	slowFlush = 500 * time.Millisecond
	flushRest = 30 * time.Second
	mostRest  = 15 * time.Minute
)

// Flush returns when what the caller has written, made, renamed and removed below the
// folder is durable. each makes that so by itself.
func (t *Tree) Flush(each func() error) error {
	f := &t.flushes
	f.mu.Lock()
	own, leads := f.next, false
	if own == nil {
		own, leads = &flush{done: make(chan struct{})}, true
		f.next = own
	}
	own.n++
	f.mu.Unlock()
	if leads {
		f.lead(own, t)
	}
	<-own.done
	if own.each {
		return each()
	}
	return own.err
}

func newFlushes() flushes {
	return flushes{usable: canSyncAll, all: syncAll, many: manyFlushes}
}

// lead waits for its turn and flushes for all who have asked by then.
func (f *flushes) lead(own *flush, t *Tree) {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.mu.Lock()
	f.next = nil
	f.mu.Unlock()
	defer close(own.done)
	if !f.asked {
		f.asked, f.may = true, f.usable(t.root)
	}
	if own.each = !f.may || own.n < f.many || time.Now().Before(f.slow); own.each {
		return
	}
	began := time.Now()
	own.err = f.all(t.root)
	switch took := time.Since(began); {
	case own.err != nil:
		f.may = false
		t.of.log.Error("a flush of the file system failed, everything is flushed by itself from now on", "folder", t.name, "err", own.err)
	case took > slowFlush:
		f.rest = min(mostRest, max(flushRest, 2*f.rest))
		f.slow = time.Now().Add(f.rest)
		t.of.log.Debug("a flush of the file system took long", "folder", t.name, "duration", took)
	default:
		f.rest = 0
	}
}

// syncAll writes the whole file system, and then flushes its disk: ext4 without a journal
// does that before it has written the last folders and inodes.
func syncAll(root *os.File) error {
	return errors.Join(
		os.NewSyscallError("syncfs", Retry(func() error { return unix.Syncfs(int(root.Fd())) })),
		root.Sync(),
	)
}

// syncable are the file systems of which a syncfs is as good as an fsync of each file: ext4,
// xfs, btrfs, tmpfs. A file system in user space, or of another machine, may hear of the
// latter only.
var syncable = []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC}

// canSyncAll tells whether syncfs can be relied on: it tells of errors since Linux 5.8.
func canSyncAll(root *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(root.Fd()), &st) != nil {
		return false
	}
	return slices.Contains(syncable, st.Type) && kernelIs(5, 8)
}

// kernelIs tells whether the kernel is of a version or a later one.
func kernelIs(major, minor int) bool {
	var name unix.Utsname
	var gotMajor, gotMinor int
	if unix.Uname(&name) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &gotMajor, &gotMinor); err != nil {
		return false
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}
