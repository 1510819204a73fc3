// Package child starts processes that die with the one that started them,
// however that ends, and that can be frozen, thawed and killed.
//
// Each leads a process group of its own: Ctrl-C at a terminal reaches the parent
// only, which then ends its children in its own order.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a child. Its methods may be called by several goroutines.
type Process struct {
	cmd    *exec.Cmd
	frozen chan struct{}
	ended  chan struct{}
	err    error // how it ended; read it after ended is closed
}

// Start starts a command. Its context, if it has one, should be one that does
// not end: a child is signalled.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, frozen: make(chan struct{}, 1), ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.attend(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// StartLogged starts a command whose output goes to the end of a file.
func StartLogged(cmd *exec.Cmd, file string) (*Process, error) {
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", cmd.Path, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	return Start(cmd)
}

// SearchPath is a PATH for children: git's own folder, wherever it is, and the usual
// ones. Nothing else should be inherited, so that nothing that is configured for
// this machine's own casq reaches theirs.
func SearchPath() (string, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", fmt.Errorf("find git: %w (run `make deps`)", err)
	}
	if git, err = filepath.Abs(git); err != nil {
		return "", err
	}
	return filepath.Dir(git) + ":/usr/local/bin:/usr/bin:/bin", nil
}

// attend starts the process and waits for its end on one thread, which it keeps:
// Pdeathsig is sent when the thread that forked ends.
func (p *Process) attend(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	for p.waitStopped() {
		select {
		case p.frozen <- struct{}{}:
		default: // nobody has looked since the last time
		}
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// waitStopped returns when a signal has stopped the process; false when it has
// ended, which is left to be waited for.
func (p *Process) waitStopped() bool {
	const childStopped = 5 // CLD_STOPPED
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || info.Code != childStopped {
			return false
		}
		_ = unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOHANG, nil)
		return true
	}
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Frozen gets a value when a signal has stopped the process.
func (p *Process) Frozen() <-chan struct{} { return p.frozen }

// Ended is closed when the process has ended and was waited for.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err tells how a process that has ended did so: nil for exit status 0, else an
// *exec.ExitError.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// Signal sends a signal. The error for one that has ended is os.ErrProcessDone.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal process %d: %w", p.Pid(), err)
	}
	return nil
}

// Stop asks the process to end by SIGTERM, kills it when ctx is done before, and
// returns how it ended.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop process %d: %w", p.Pid(), context.Cause(ctx))
	}
}

// Kill ends the process, frozen or not, and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it has ended, or it cannot refuse
	<-p.ended
}

// SignalSelf signals the calling thread, which takes the signal before it returns
// from the call: a process that stops or kills itself so does not run one
// instruction more.
func SignalSelf(s syscall.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), s)
}
