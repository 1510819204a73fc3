package folder

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// Root is the folder that the name of a source or target leads to. That may
// become another one at any time: it is moved away and made anew, a link is switched,
// something is mounted over it, or no longer. A handle notices nothing of it, so the
// name is read for each run, and around each change of a place.
//
// mu guards now, its count of users, and mark.
type Root struct {
	name   string
	mounts bool // see Tree
	log    *slog.Logger
	linkat LinkatFunc
	// It was found to have no hard links.
	linkless atomic.Bool

	mu   sync.Mutex
	now  *Tree
	mark *transfer.Mark // what the folder has to hold; nil: nothing is known of it
}

func openRoot(name string, mounts bool, log *slog.Logger) (*Root, error) {
	tree, err := openTree(name, mounts)
	if err != nil {
		return nil, err
	}
	r := &Root{name: name, mounts: mounts, log: log, linkat: unix.Linkat, now: tree}
	tree.of = r
	return r, nil
}

// Name is the one under which it was opened.
func (r *Root) Name() string { return r.name }

// Enter returns the folder that has the name now. Who has it calls leave in the
// end: one that was replaced is closed, and can be unmounted, when nobody uses it.
func (r *Root) Enter() (*Tree, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.probe(); err != nil {
		return nil, err
	}
	r.now.users++
	return r.now, nil
}

// Leave ends what Enter has begun.
func (t *Tree) Leave() {
	r := t.of
	r.mu.Lock()
	defer r.mu.Unlock()
	t.users--
	if t.users == 0 && t != r.now {
		_ = t.close()
	}
}

// Check tells whether the folder can be used.
func (r *Root) Check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.probe()
}

// Close closes the folder. Whoever has entered it has left it before.
func (r *Root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now.close()
}

// probe opens the folder again when another one has the name.
func (r *Root) probe() error {
	same, err := r.now.named()
	if err != nil {
		return err
	}
	if same {
		return r.now.marked()
	}
	next, err := r.reopen()
	if err != nil {
		return err
	}
	next.mark.Store(r.mark)
	// What is below a mount point does not stand in for what was mounted, unless a
	// mark tells.
	if r.now.mounted && !next.mounted && r.mark == nil {
		err = fmt.Errorf("%w: what was mounted at %s is not any more", transfer.ErrElsewhere, r.name)
	}
	if err := errors.Join(err, next.marked()); err != nil {
		_ = next.close()
		return err
	}
	r.log.Warn("another folder has the name, opened it", "folder", r.name)
	if r.now.users == 0 {
		_ = r.now.close()
	}
	r.now = next
	return nil
}

// reopen opens what has the name now.
func (r *Root) reopen() (*Tree, error) {
	t, err := openTree(r.name, r.mounts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transfer.ErrElsewhere, err)
	}
	t.of = r
	return t, nil
}

// Here returns [transfer.ErrElsewhere] unless the folder still has its name, and its mark.
func (t *Tree) Here() error {
	same, err := t.named()
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w: %s was replaced while a run was at work in it", transfer.ErrElsewhere, t.name)
	}
	return t.marked()
}

// named tells whether the folder has its name still. While it is held open no
// other one can get its inode number.
func (t *Tree) named() (bool, error) {
	var st unix.Stat_t
	if err := Retry(func() error { return unix.Stat(t.name, &st) }); err != nil {
		return false, fmt.Errorf("%w: read %s: %w", transfer.ErrElsewhere, t.name, err)
	}
	if st.Dev == t.dev && st.Ino == t.ino {
		return true, nil
	}
	// The folder that is held open has its own number for good, unless the file system makes
	// numbers up.
	if err := unix.Fstat(int(t.root.Fd()), &st); err == nil && (st.Dev != t.dev || st.Ino != t.ino) {
		return false, fmt.Errorf("%w: %s cannot be told from another folder: its file system gives it another inode number each time (FUSE: mount it with numbers that stay, as use_ino and noforget have them)",
			transfer.ErrElsewhere, t.name)
	}
	return false, nil
}

// isMounted tells whether a folder is where something is mounted. A bind mount
// may be of the same device as the folder above it.
func isMounted(dir int) bool {
	var own, above unix.Statx_t
	const mask = unix.STATX_MNT_ID
	if unix.Statx(dir, "", unix.AT_EMPTY_PATH, mask, &own) != nil || unix.Statx(dir, "..", 0, mask, &above) != nil {
		return false
	}
	if own.Mask&above.Mask&mask != 0 {
		return own.Mnt_id != above.Mnt_id
	}
	return own.Dev_major != above.Dev_major || own.Dev_minor != above.Dev_minor
}
