package servers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// member is what a [Postgres] and a [Redis] have in common: a place, and a
// process that comes and goes.
type member struct {
	kind     string
	place    *place
	binaries Binaries
	// clock is [PostgresOptions].Clock, env what makes it so.
	clock  time.Duration
	env    []string
	logger *slog.Logger

	mutex    sync.Mutex
	process  *process
	frozen   bool
	released bool
}

// errExited is why waiting for a server ends early.
var errExited = errors.New("the server exited")

// launch starts the server's program and waits until ready is true. The caller
// has the mutex.
func (m *member) launch(ctx context.Context, ready func(*process) bool, args ...string) error {
	started := time.Now()
	logged := m.place.logSize()
	process, err := m.place.launch(m.env, m.binaries.server, args...)
	if err != nil {
		return err
	}
	m.process, m.frozen = process, false
	err = poll(ctx, func() (bool, error) {
		if !process.running() {
			return false, fmt.Errorf("%w: %w", errExited, process.err)
		}
		return ready(process), nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("wait until %s is ready: %w; its log ends with:\n%s",
			m.kind, err, m.place.logSince(logged)), process.kill())
	}
	m.logger.LogAttrs(ctx, slog.LevelDebug, "server started", slog.String("server", m.kind),
		slog.String("dir", m.place.dir), slog.Int("pid", process.pid), slog.Duration("duration", time.Since(started)))
	return nil
}

// startable returns an error unless the server may be started. The caller has
// the mutex.
func (m *member) startable() error {
	switch {
	case m.released:
		return fmt.Errorf("start %s: it was stopped for good", m.kind)
	case m.process.running():
		return fmt.Errorf("start %s: it is running as process %d", m.kind, m.process.pid)
	default:
		return nil
	}
}

// Dir returns the server's folder.
func (m *member) Dir() string { return m.place.dir }

// LogTail returns the last 4 KiB of the server's log.
func (m *member) LogTail() string { return m.place.logSince(0) }

// Kill ends the server and all its processes with SIGKILL and returns when none
// is left. Start starts it again with the data that it had.
func (m *member) Kill() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if err := m.process.kill(); err != nil {
		return fmt.Errorf("kill %s: %w", m.kind, err)
	}
	m.frozen = false
	return nil
}

// Freeze suspends all processes of the server (SIGSTOP): connections stay open
// and nothing answers. Thaw lets it go on.
func (m *member) Freeze() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if !m.process.running() {
		return fmt.Errorf("freeze %s: %w", m.kind, os.ErrProcessDone)
	}
	m.frozen = true
	if err := m.process.freeze(context.Background()); err != nil {
		return fmt.Errorf("freeze %s: %w", m.kind, err)
	}
	return nil
}

// Thaw lets a frozen server go on.
func (m *member) Thaw() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.thaw()
}

func (m *member) thaw() error {
	if !m.frozen {
		return nil
	}
	if err := m.process.thaw(); err != nil {
		return fmt.Errorf("thaw %s: %w", m.kind, err)
	}
	m.frozen = false
	return nil
}

// stopTimeout is for a shutdown in order, which writes what is not yet written.
const stopTimeout = time.Minute

// end signals the server's program and waits for its end. The caller has the
// mutex.
func (m *member) end(ctx context.Context, signal syscall.Signal) error {
	if !m.process.running() {
		return nil
	}
	if signal == syscall.SIGKILL {
		return m.process.kill()
	}
	if err := m.thaw(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := m.process.signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", m.kind, err)
	}
	if err := m.process.wait(ctx); err != nil {
		return fmt.Errorf("wait until %s has stopped: %w; its log ends with:\n%s", m.kind, err, m.LogTail())
	}
	return nil
}

// stop ends the server for good, by a kill when the signal does not do it.
func (m *member) stop(ctx context.Context, signal syscall.Signal, clean func()) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.released {
		return nil
	}
	m.released = true
	err := m.end(ctx, signal)
	if err != nil {
		err = errors.Join(err, m.process.kill())
	}
	if m.place.kept() {
		err = errors.Join(err, m.endRestarted(ctx, signal))
	}
	clean()
	m.logger.LogAttrs(ctx, slog.LevelDebug, "server stopped", slog.String("server", m.kind), slog.String("dir", m.place.dir))
	return errors.Join(err, m.place.release())
}

// endRestarted ends a server that works with this one's data and is not this
// process's child: somebody has restarted it by hand, by pg_ctl, say. What does
// not end in order is killed.
func (m *member) endRestarted(ctx context.Context, signal syscall.Signal) error {
	pids, err := serversIn(m.place.data())
	if err != nil || len(pids) == 0 {
		return err
	}
	m.logger.LogAttrs(ctx, slog.LevelInfo, "server was restarted by somebody, stopping it", slog.String("server", m.kind), slog.Any("pids", pids))
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s, process %d, which somebody has started: %w", m.kind, pid, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		left, err := serversIn(m.place.data())
		return len(left) == 0, err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("wait until %s has stopped, which somebody has started: %w", m.kind, err),
			endLeftovers(m.place.run.user, "keep", m.place.dir))
	}
	return nil
}
