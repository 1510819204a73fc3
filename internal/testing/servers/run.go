package servers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Names of run folders. One whose name starts with newPrefix has no lock yet.
const (
	runPrefix = "casq-servers-"
	newPrefix = "casq-new-"
	lockName  = "lock"
)

// run is what the servers of this process share: a folder that is removed with
// the last of them, its lock, and the watchdog that has the lock too.
type run struct {
	user     account
	dir      string
	lock     *os.File
	watchdog *watchdog
	servers  int
	last     int
}

// current is the run of this process; nil while it has no server.
var (
	currentMutex sync.Mutex
	current      *run
)

// join returns the run of this process and a folder in it for one more server.
func join() (*run, string, error) {
	currentMutex.Lock()
	defer currentMutex.Unlock()
	if current == nil {
		r, err := newRun()
		if err != nil {
			return nil, "", err
		}
		current = r
	}
	current.servers++
	current.last++
	dir := filepath.Join(current.dir, strconv.Itoa(current.last))
	if err := current.user.mkdir(dir); err != nil {
		return nil, "", errors.Join(fmt.Errorf("make a folder for a server: %w", err), current.drop())
	}
	return current, dir, nil
}

// leave takes one server and its folder off the run.
func (r *run) leave(dir string) error {
	currentMutex.Lock()
	defer currentMutex.Unlock()
	return errors.Join(os.RemoveAll(dir), r.drop())
}

// drop ends the run with its last server.
func (r *run) drop() error {
	r.servers--
	if r.servers > 0 {
		return nil
	}
	current = nil
	return errors.Join(r.watchdog.finish(), os.RemoveAll(r.dir), r.lock.Close())
}

func newRun() (*run, error) {
	user, err := currentAccount()
	if err != nil {
		return nil, err
	}
	base, err := baseDir(user)
	if err != nil {
		return nil, err
	}
	if err := sweep(base, user); err != nil {
		return nil, err
	}
	r := &run{user: user}
	if err := r.makeDir(base); err != nil {
		return nil, fmt.Errorf("make a folder for servers: %w", err)
	}
	r.watchdog, err = startWatchdog(user, r.lock)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.dir), r.lock.Close())
	}
	if err := r.watchdog.tell("drop", r.dir); err != nil {
		return nil, errors.Join(err, r.watchdog.finish(), os.RemoveAll(r.dir), r.lock.Close())
	}
	return r, nil
}

// makeDir makes the run's folder and takes its lock before the folder gets the
// name that sweep looks for, so that no other process can take it for dead.
func (r *run) makeDir(base string) error {
	dir, err := os.MkdirTemp(base, newPrefix)
	if err != nil {
		return err
	}
	r.dir = filepath.Join(base, runPrefix+strings.TrimPrefix(filepath.Base(dir), newPrefix))
	if r.lock, err = openLock(dir, r.user); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = r.user.own(dir)
	if err == nil {
		err = tryLock(r.lock)
	}
	if err == nil {
		err = os.Rename(dir, r.dir)
	}
	if err != nil {
		return errors.Join(err, r.lock.Close(), os.RemoveAll(dir))
	}
	return nil
}

// openLock opens, or makes, the lock file of a folder.
func openLock(dir string, user account) (*os.File, error) {
	name := filepath.Join(dir, lockName)
	lock, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := user.own(name); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// tryLock takes a lock that the kernel gives back when all who have the file
// open are gone, in whatever container they are.
func tryLock(lock *os.File) error {
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// sweep ends and removes what killed runs left in base, when their watchdogs
// were killed too.
func sweep(base string, user account) error {
	dirs, err := filepath.Glob(filepath.Join(base, runPrefix+"*"))
	if err != nil {
		return err
	}
	var dead []string
	for _, dir := range dirs {
		if isDead(dir, user) {
			dead = append(dead, dir)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	errs := []error{endLeftovers(user, "drop", dead...)}
	for _, dir := range dead {
		// The servers' user may empty the folder, but where base is not open
		// to all only its owner may remove it.
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// isDead is true for a run folder of this user that no process works with any
// more. Two that find the same one may both remove it.
func isDead(dir string, user account) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || ownerOf(info) != user.uid {
		return false
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		// It had a lock file when it got its name: half removed.
		return errors.Is(err, fs.ErrNotExist)
	}
	defer lock.Close()
	return tryLock(lock) == nil
}

func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return ^uint32(0)
}

// baseDir returns the first usual folder for temporary files that the servers'
// user can reach and whose name leaves room for a socket's.
func baseDir(user account) (string, error) {
	var errs []error
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		dir, err := filepath.EvalSymlinks(dir)
		if err == nil {
			err = user.reaches(dir)
		}
		if err == nil && len(dir) > longestSocketDir-len(runPrefix)-20 {
			err = fmt.Errorf("put sockets below %s: %w", dir, syscall.ENAMETOOLONG)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("find a folder for servers: %w", errors.Join(errs...))
}
