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
// the last of them, its lock, and the watchdog.
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

// place is where one server lives.
type place struct {
	run *run
	// dir holds all that belongs to the server, dir/data its data.
	dir string
	// socketDir is short enough for the 107 bytes of a socket's path.
	socketDir string
	// kept is true when the caller named the folder, and keeps it.
	kept bool
}

func (p *place) data() string    { return filepath.Join(p.dir, "data") }
func (p *place) logFile() string { return filepath.Join(p.dir, "log") }

// longestSocketDir leaves room for /.s.PGSQL.65535.lock below 107 bytes.
const longestSocketDir = 107 - len("/.s.PGSQL.65535.lock")

// acquire registers a new server. An empty dir makes a temporary one.
func acquire(dir string) (*place, error) {
	currentMutex.Lock()
	defer currentMutex.Unlock()
	if current == nil {
		r, err := newRun()
		if err != nil {
			return nil, err
		}
		current = r
	}
	current.servers++
	p, err := current.newPlace(dir)
	if err != nil {
		return nil, errors.Join(err, current.drop())
	}
	return p, nil
}

// release gives a place back; its server is no longer running.
func (p *place) release() error {
	currentMutex.Lock()
	defer currentMutex.Unlock()
	var errs []error
	if p.kept {
		errs = append(errs, p.run.watchdog.tell("forget", p.dir))
	} else {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	if filepath.Dir(p.socketDir) == p.run.dir {
		errs = append(errs, os.RemoveAll(p.socketDir))
	}
	return errors.Join(append(errs, p.run.drop())...)
}

// drop takes one server off the run and ends the run with the last.
func (r *run) drop() error {
	r.servers--
	if r.servers > 0 {
		return nil
	}
	current = nil
	return errors.Join(r.watchdog.finish(), os.RemoveAll(r.dir), r.lock.Close())
}

func (r *run) newPlace(dir string) (*place, error) {
	r.last++
	temporary := filepath.Join(r.dir, strconv.Itoa(r.last))
	if dir == "" {
		if err := r.user.mkdir(temporary); err != nil {
			return nil, fmt.Errorf("make a folder for a server: %w", err)
		}
		return &place{run: r, dir: temporary, socketDir: temporary}, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", dir, err)
	}
	if err := r.user.mkdir(dir); err != nil {
		return nil, fmt.Errorf("make folder %s: %w", dir, err)
	}
	if err := r.user.reaches(dir); err != nil {
		return nil, err
	}
	p := &place{run: r, dir: dir, socketDir: dir, kept: true}
	if len(dir) > longestSocketDir {
		p.socketDir = temporary
		if err := r.user.mkdir(temporary); err != nil {
			return nil, fmt.Errorf("make a folder for a socket: %w", err)
		}
	}
	return p, r.watchdog.tell("keep", dir)
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
	r.watchdog, err = startWatchdog(user)
	if err == nil {
		err = r.watchdog.tell("drop", r.dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.dir), r.lock.Close())
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
	r.lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = errors.Join(
		syscall.Flock(int(r.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB),
		r.user.own(dir), r.user.own(r.lock.Name()))
	if err == nil {
		err = os.Rename(dir, r.dir)
	}
	if err != nil {
		return errors.Join(err, r.lock.Close(), os.RemoveAll(dir))
	}
	return nil
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

// sweep ends and removes what killed runs left in base. A run's lock is held
// as long as its process lives, in whatever container.
func sweep(base string, user account) error {
	dirs, err := filepath.Glob(filepath.Join(base, runPrefix+"*"))
	if err != nil {
		return err
	}
	var dead []string
	for _, dir := range dirs {
		if lock := deadRun(dir, user); lock != nil {
			defer lock.Close()
			dead = append(dead, dir)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	// The watchdog of a killed run usually has done all that; here another one
	// does it, as the servers' user, with nothing to wait for.
	w, err := startWatchdog(user)
	if err != nil {
		return err
	}
	for _, dir := range dead {
		if err := w.tell("drop", dir); err != nil {
			return errors.Join(err, w.finish())
		}
	}
	return w.finish()
}

// deadRun returns the lock of a run of this user whose process is gone, or nil.
func deadRun(dir string, user account) *os.File {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || ownerOf(info) != user.uid {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		lock.Close()
		return nil
	}
	return lock
}

func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return ^uint32(0)
}
