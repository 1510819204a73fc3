package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// place is where one server lives.
type place struct {
	run *run
	// dir holds all that belongs to the server, dir/data its data.
	dir string
	// temporary is the server's folder in the run, and dir itself unless the
	// caller named another.
	temporary string
	// lock and watchdog are those of a folder that the caller named.
	lock     *os.File
	watchdog *watchdog
}

// longestSocketDir leaves room for /.s.PGSQL.65535.lock below the 107 bytes
// that a socket's path may have.
const longestSocketDir = 107 - len("/.s.PGSQL.65535.lock")

// lockWait is how long the watchdog of a killed process may take to end the
// servers in a folder that is wanted again.
const lockWait = 10 * time.Second

// acquire registers a new server. An empty dir makes a temporary one.
func acquire(ctx context.Context, dir string) (*place, error) {
	r, temporary, err := join()
	if err != nil {
		return nil, err
	}
	p := &place{run: r, dir: temporary, temporary: temporary}
	if dir == "" {
		return p, nil
	}
	if err := p.keep(ctx, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("use folder %s: %w", dir, err), p.release())
	}
	return p, nil
}

// keep makes the place a folder that stays.
func (p *place) keep(ctx context.Context, dir string) (err error) {
	user := p.run.user
	if p.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := user.adopt(p.dir); err != nil {
		return err
	}
	if err := user.reaches(p.dir); err != nil {
		return err
	}
	if p.lock, err = openLock(p.dir, user); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, errors.New("another process uses it"))
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return tryLock(p.lock) == nil, nil }); err != nil {
		return err
	}
	if err := endLeftovers(user, "keep", p.dir); err != nil {
		return err
	}
	if p.watchdog, err = startWatchdog(user, p.lock); err != nil {
		return err
	}
	return p.watchdog.tell("keep", p.dir)
}

// release gives the place back; its server is no longer running.
func (p *place) release() error {
	var errs []error
	if p.watchdog != nil {
		errs = append(errs, p.watchdog.tell("forget", p.dir), p.watchdog.finish())
	}
	if p.lock != nil {
		errs = append(errs, p.lock.Close())
	}
	return errors.Join(append(errs, p.run.leave(p.temporary))...)
}

func (p *place) kept() bool      { return p.dir != p.temporary }
func (p *place) data() string    { return filepath.Join(p.dir, "data") }
func (p *place) logFile() string { return filepath.Join(p.dir, "log") }

// socketDir is the server's folder when its name is short enough.
func (p *place) socketDir() string {
	if len(p.dir) > longestSocketDir {
		return p.temporary
	}
	return p.dir
}

// hasData is true when the data folder is there, which is filled under another
// name and therefore whole.
func (p *place) hasData() (bool, error) {
	_, err := os.Stat(p.data())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// fill makes the data folder with what f puts into the folder it is given.
func (p *place) fill(f func(fresh string) error) error {
	fresh := p.data() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := f(fresh); err != nil {
		return err
	}
	return os.Rename(fresh, p.data())
}

// remember returns the value kept in a file of the place, made when there is
// none.
func (p *place) remember(name string, value func() (string, error)) (string, error) {
	file := filepath.Join(p.dir, name)
	content, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(content)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the server's %s: %w", name, err)
	}
	fresh, err := value()
	if err == nil {
		err = p.run.user.write(file, []byte(fresh+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("choose the server's %s: %w", name, err)
	}
	return fresh, nil
}

const (
	portFile     = "port"
	passwordFile = "password"
	// portTries is how often another free port is tried when somebody else
	// takes it between our look and the server's.
	portTries = 5
)

// startOn starts a server with a free port, and with another one while start
// fails with an error that contains taken. The port is remembered, so that a
// server in a folder that stays has the same one again.
func (p *place) startOn(taken string, start func(port int) error) error {
	for try := 1; ; try++ {
		text, err := p.remember(portFile, freePort)
		if err != nil {
			return err
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("read the server's port in %s: %w", p.dir, err)
		}
		err = start(port)
		if err == nil || try == portTries || !strings.Contains(err.Error(), taken) {
			return err
		}
		if err := os.Remove(filepath.Join(p.dir, portFile)); err != nil {
			return err
		}
	}
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// logTailBytes is some thirty lines.
const logTailBytes = 4096

func (p *place) logSize() int64 {
	info, err := os.Stat(p.logFile())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logSince returns the end of what was logged after the first bytes.
func (p *place) logSince(size int64) string {
	log, err := os.Open(p.logFile())
	if err != nil {
		return ""
	}
	defer log.Close()
	from := max(size, p.logSize()-logTailBytes)
	content, err := io.ReadAll(io.NewSectionReader(log, from, logTailBytes))
	if err != nil {
		return ""
	}
	return string(content)
}
