package localrun

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	placePrefix, newPrefix = "casq-exec-", "casq-new-exec-"
	// marker is a variable that everything has which works for a run: all that was started
	// by its runner is found by it, whoever its parent is.
	marker = "CASQ_EXEC_DIR"
)

// place is the temporary folder of a run.
type place struct {
	dir  string
	lock *os.File
}

// newPlace makes the folder, and removes those of runs that were killed.
func newPlace() (*place, error) {
	removeLeftovers(os.TempDir())
	made, err := os.MkdirTemp("", newPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	dir := filepath.Join(filepath.Dir(made), placePrefix+strings.TrimPrefix(filepath.Base(made), newPrefix))
	lock, err := lockDir(made)
	if err == nil { // it has its name when it has its lock
		err = os.Rename(made, dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the temporary folder: %w", err), os.RemoveAll(made))
	}
	return &place{dir, lock}, nil
}

func (p *place) path(names ...string) string {
	return filepath.Join(append([]string{p.dir}, names...)...)
}

// remove ends what still works for the run, and removes the folder.
func (p *place) remove() error {
	killMarked(p.dir)
	err := os.RemoveAll(p.dir)
	if err != nil { // a job may have taken the rights from a folder of its own
		openAll(p.dir)
		err = os.RemoveAll(p.dir)
	}
	return errors.Join(err, p.lock.Close())
}

// openAll lets folders be emptied.
func openAll(dir string) {
	_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700) //nolint:gosec // a folder
		}
		return nil
	})
}

// lockDir locks a folder for as long as this process has it open.
func lockDir(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// removeLeftovers removes the folders whose runs are gone: nobody has their locks. Those
// of other users are left alone: who has them may put links there meanwhile.
func removeLeftovers(temporary string) {
	found, _ := filepath.Glob(filepath.Join(temporary, placePrefix+"*"))
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !mine(info) {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			_ = (&place{dir, lock}).remove() // the next run tries again
		}
	}
}

func mine(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// killMarked kills the processes that work for a run. It looks until there are none: one
// may have started another meanwhile.
func killMarked(dir string) {
	const rounds = 100
	entry := []byte(marker + "=" + dir)
	for range rounds {
		found := false
		environments, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, file := range environments {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			if err != nil || pid == os.Getpid() {
				continue
			}
			text, err := os.ReadFile(file)
			if err == nil && hasEntry(text, entry) && unix.Kill(pid, unix.SIGKILL) == nil {
				found = true
			}
		}
		if !found {
			return
		}
	}
}

func hasEntry(environment, entry []byte) bool {
	for one := range bytes.SplitSeq(environment, []byte{0}) {
		if bytes.Equal(one, entry) {
			return true
		}
	}
	return false
}
