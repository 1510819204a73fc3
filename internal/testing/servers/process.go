package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running server program with its children.
type process struct {
	pid  int
	done chan struct{}
	// err is how it ended; read it after done.
	err error
}

// launch starts a server in its data folder with the log file as its output, and
// with env beside the environment of every child.
func (p *place) launch(env []string, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", program, err)
	}
	defer log.Close()
	cmd := p.command(context.Background(), program, args...)
	cmd.Dir = p.data()
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	proc := &process{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		proc.err = cmd.Wait()
		close(proc.done)
	}()
	return proc, nil
}

// command prepares a program that runs as the servers' user.
func (p *place) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	// The watchdog ends what works here.
	cmd.Dir = p.temporary
	cmd.WaitDelay = time.Second
	cmd.Env = environment()
	cmd.SysProcAttr = p.run.user.attributes()
	return cmd
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// wait waits until the server program has ended.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// signal signals the server program alone.
func (p *process) signal(s syscall.Signal) error {
	if !p.running() {
		return os.ErrProcessDone
	}
	return syscall.Kill(p.pid, s)
}

// kill ends the server and all its children with SIGKILL and returns when none
// is left. The server is stopped first, so that it neither forks any more nor
// reaps, and no child's number can be given to another process.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	children, err := p.stop(context.Background())
	if err != nil {
		return err
	}
	for _, pid := range append([]int{p.pid}, children...) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	<-p.done
	return poll(context.Background(), func() (bool, error) {
		for _, pid := range children {
			if ppid, state := parentOf(pid); state != 0 && state != 'Z' && state != 'X' && ppid != 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// stop suspends the server program itself and returns its children.
func (p *process) stop(ctx context.Context) ([]int, error) {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop process %d: %w", p.pid, err)
	}
	if err := waitStopped(ctx, p.pid); err != nil {
		return nil, err
	}
	return childrenOf(p.pid)
}

// freeze suspends the server and all its children.
func (p *process) freeze(ctx context.Context) error {
	children, err := p.stop(ctx)
	if err != nil {
		return err
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("freeze process %d: %w", pid, err)
		}
	}
	for _, pid := range children {
		if err := waitStopped(ctx, pid); err != nil {
			return err
		}
	}
	return nil
}

// thaw continues the children, then the server.
func (p *process) thaw() error {
	if !p.running() {
		return fmt.Errorf("thaw process: %w", os.ErrProcessDone)
	}
	children, err := childrenOf(p.pid)
	if err != nil {
		return err
	}
	for _, pid := range append(children, p.pid) {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("thaw process %d: %w", pid, err)
		}
	}
	return nil
}

// waitStopped waits until a process is suspended, or has ended.
func waitStopped(ctx context.Context, pid int) error {
	return poll(ctx, func() (bool, error) {
		switch _, state := parentOf(pid); state {
		case 'T', 't', 'Z', 'X', 0:
			return true, nil
		default:
			return false, nil
		}
	})
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) ([]int, error) {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(entries) == 0 {
		return nil, fmt.Errorf("list processes in /proc: %w", errors.Join(err, os.ErrNotExist))
	}
	var children []int
	for _, entry := range entries {
		child, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if ppid, _ := parentOf(child); ppid == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

// serversIn lists the servers that work in a data folder, without their children.
func serversIn(data string) ([]int, error) {
	data, err := filepath.EvalSymlinks(data)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	entries, globErr := filepath.Glob("/proc/[0-9]*/cwd")
	if err := errors.Join(err, globErr); err != nil {
		return nil, fmt.Errorf("list processes in /proc: %w", err)
	}
	parents := make(map[int]int)
	for _, entry := range entries {
		// Of processes that end, and of other users, nothing is told.
		if dir, err := os.Readlink(entry); err != nil || dir != data {
			continue
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(entry), "comm"))
		program := strings.TrimSpace(string(name))
		if err != nil || program != "postgres" && program != "redis-server" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		if err == nil {
			parents[pid], _ = parentOf(pid)
		}
	}
	var servers []int
	for pid, parent := range parents {
		if _, child := parents[parent]; !child {
			servers = append(servers, pid)
		}
	}
	return servers, nil
}

// parentOf returns a process's parent and state letter, zero when it is gone.
func parentOf(pid int) (ppid int, state byte) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The name, in parentheses, may hold blanks and parentheses itself.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0, 0
	}
	ppid, _ = strconv.Atoi(fields[1])
	return ppid, fields[0][0]
}

// pollEvery is short against what is waited for: a server's start takes 100 ms.
const pollEvery = 5 * time.Millisecond

// poll asks until done is true, an error, or the end of ctx.
func poll(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
