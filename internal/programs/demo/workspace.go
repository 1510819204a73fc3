package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// Names of the demo's folders. One that starts with newPrefix has no lock yet.
const (
	dirPrefix = "casq-demo-"
	newPrefix = "casq-new-demo-"
	lockName  = "lock"
)

// workspace is the demo's temporary folder. Its lock is held while the process
// lives, so that a later demo can remove what a killed one left.
type workspace struct {
	dir  string
	lock *os.File
}

// openWorkspace makes the folder, after removing those of demos that were
// killed. It gets the name that removeDead looks for when its lock is taken.
func openWorkspace(base string, keep bool) (*workspace, error) {
	if err := removeDead(base); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, newPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	w := &workspace{dir: filepath.Join(base, dirPrefix+strings.TrimPrefix(filepath.Base(dir), newPrefix))}
	err = w.take(dir, keep)
	if err == nil {
		err = os.Rename(dir, w.dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a temporary folder: %w", err), os.RemoveAll(dir), w.lock.Close())
	}
	return w, nil
}

func (w *workspace) take(dir string, keep bool) (err error) {
	w.lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if keep {
		// Servers in a folder that stays may run as another user, who has to
		// get through. What was copied stays private, one folder below.
		return os.Chmod(dir, 0o711)
	}
	return nil
}

// removeDead removes the folders of demos that no process works with any more.
// Those that were kept on purpose have no lock file.
func removeDead(base string) error {
	dirs, err := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	if err != nil {
		return fmt.Errorf("find left-overs in %s: %w", base, err)
	}
	for _, dir := range dirs {
		if !isDead(dir) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what a killed demo left: %w", err)
		}
	}
	return nil
}

func isDead(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
		return false
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// path returns a path in the folder.
func (w *workspace) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// mkdir makes a folder in it that nobody else may enter.
func (w *workspace) mkdir(parts ...string) (string, error) {
	dir := w.path(parts...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the demo: %w", err)
	}
	return dir, nil
}

// keep makes the folder one that stays.
func (w *workspace) keep() error {
	err := os.Remove(filepath.Join(w.dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, w.lock.Close())
}

// remove removes it, the large folders at once: files that were flushed to the
// disk take longer to be removed than to be made, and two CPUs halve that.
func (w *workspace) remove() error {
	var group errgroup.Group
	group.SetLimit(16)
	large, err := filepath.Glob(w.path("*", "*", "*"))
	for _, dir := range large {
		group.Go(func() error { return os.RemoveAll(dir) })
	}
	return errors.Join(err, group.Wait(), os.RemoveAll(w.dir), w.lock.Close())
}
