// Package testproc runs a test binary again, as a process that the test can
// freeze, thaw and kill: what happens to a goroutine is no proof of what happens
// to a process.
//
// A package that uses it calls [Child] at the very beginning of its TestMain:
//
//	if code, child := testproc.Child(map[string]func(args []string) error{"holder": holder}); child {
//		os.Exit(code)
//	}
package testproc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	nameVariable = "CASQ_TEST_CHILD"
	argsVariable = "CASQ_TEST_CHILD_ARGS"
	// timeout is for a child's next line: it may have to start first, with the
	// race detector, on a busy machine.
	timeout = time.Minute
)

// Child runs the child that this process was started as and returns its exit
// code; false in the test's own process.
func Child(children map[string]func(args []string) error) (code int, child bool) {
	name := os.Getenv(nameVariable)
	if name == "" {
		return 0, false
	}
	var args []string
	run, err := children[name], json.Unmarshal([]byte(os.Getenv(argsVariable)), &args)
	switch {
	case err != nil:
		err = fmt.Errorf("read %s: %w", argsVariable, err)
	case run == nil:
		err = fmt.Errorf("run child %q: there is no such child", name)
	default:
		err = run(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// Say tells the test something, from within the child.
func Say(line string) { fmt.Println(line) }

// Freeze tells the test where the child is and stops the child there, until the
// test thaws it. The signal may reach another thread first, and this one would
// go on for a moment: so it waits until it is told to continue.
func Freeze(point string) {
	thawed := make(chan os.Signal, 1)
	signal.Notify(thawed, syscall.SIGCONT)
	defer signal.Stop(thawed)
	Say(point)
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		panic(err)
	}
	<-thawed
}

// Process is a child.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{} // closed when it was waited for
}

// Start starts the child of that name. It is killed when the test ends, or the
// test's process.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	encoded, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program) //nolint:noctx // it is killed by Cleanup, when nobody uses it any more
	cmd.Env = append(cmd.Environ(), nameVariable+"="+name, argsVariable+"="+string(encoded))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("start child %s: %v", name, err)
	}
	p, started := &Process{t: t, cmd: cmd, lines: make(chan string, 1000), ended: make(chan struct{})}, make(chan error)
	go p.attend(stdout, started)
	if err := <-started; err != nil {
		t.Fatalf("start child %s: %v", name, err)
	}
	t.Cleanup(p.Kill)
	return p
}

// attend keeps the thread that starts the child for as long as that lives: the
// kill at the parent's death comes when the thread that forked ends, and a thread
// may well end before the process does (package landlock ends those that it has
// confined).
func (p *Process) attend(stdout io.Reader, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		select {
		case p.lines <- scanner.Text():
		default: // nobody waits for so many
		}
	}
	close(p.lines)
	_ = p.cmd.Wait() // what it was told to do is what is tested
}

// Await returns when the child says line. Other lines are passed over; the child
// is waited for as long as it says any.
func (p *Process) Await(line string) {
	p.t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		select {
		case got, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("wait until the child says %q: it ended", line)
			}
			if got == line {
				return
			}
			deadline.Reset(timeout)
		case <-deadline.C:
			p.t.Fatalf("wait until the child says %q: it did not, and nothing else for %v", line, timeout)
		}
	}
}

// AwaitFrozen returns when the child has frozen itself at point.
func (p *Process) AwaitFrozen(point string) {
	p.t.Helper()
	p.Await(point)
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !p.stopped() {
		select {
		case <-poll.C:
		case <-deadline.C:
			p.t.Fatalf("wait until the child is frozen at %q: it is not", point)
		}
	}
}

// stopped tells whether the kernel has stopped the child. The state follows the
// program's name, which is in parentheses.
func (p *Process) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	_, after, found := strings.Cut(string(stat), ") ")
	return err == nil && found && after[0] == 'T'
}

// Thaw lets a frozen child go on.
func (p *Process) Thaw() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.t.Fatalf("thaw the child: %v", err)
	}
}

// Kill ends the child as kill -9 does, frozen or not, and waits for its end.
func (p *Process) Kill() {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("kill the child: %v", err)
	}
	<-p.ended
}

// PeakMemory is the most resident memory that the child has had so far, in bytes.
func (p *Process) PeakMemory() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatalf("read the child's peak memory: %v", err)
	}
	var kib int64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib * 1024
		}
	}
	p.t.Fatal("read the child's peak memory: no VmHWM in /proc")
	return 0
}
