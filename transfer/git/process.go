package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// onOwnThread calls f on a thread that does nothing else.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- f()
	}()
	return <-done
}

// processGroup is killed as a whole, and not after its end.
type processGroup struct {
	mutex  sync.Mutex
	leader int
}

// run runs cmd as a process group of its own and leaves none of it alive.
func (p *processGroup) run(cmd *exec.Cmd) error {
	cmd.Cancel = p.kill
	p.mutex.Lock()
	err := cmd.Start()
	if err == nil {
		p.leader = cmd.Process.Pid
	}
	p.mutex.Unlock()
	if err != nil {
		return err
	}
	// Until the leader is reaped its number is not given to another group, so it
	// is waited for without reaping, and the kill cannot hit a stranger.
	_ = folder.Retry(func() error {
		return unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	_ = p.kill()
	p.end()
	return cmd.Wait()
}

func (p *processGroup) kill() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.leader == 0 {
		return os.ErrProcessDone
	}
	return unix.Kill(-p.leader, unix.SIGKILL)
}

// pid is that of the leader; 0 before its start and after its end.
func (p *processGroup) pid() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.leader
}

func (p *processGroup) end() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.leader = 0
}

// gitError is the failure of a git process.
type gitError struct {
	command string
	err     error
	stderr  string
}

func (e *gitError) Error() string {
	text := strings.TrimSpace(e.stderr)
	if text == "" {
		return fmt.Sprintf("git %s: %v", e.command, e.err)
	}
	return fmt.Sprintf("git %s: %v: %s", e.command, e.err, strings.ReplaceAll(text, "\n", "; "))
}

func (e *gitError) Unwrap() error { return e.err }

// said is true if git's messages contain one of the texts. LC_ALL=C keeps them
// in English.
func said(err error, texts ...string) bool {
	var failure *gitError
	if !errors.As(err, &failure) {
		return false
	}
	for _, text := range texts {
		if strings.Contains(failure.stderr, text) {
			return true
		}
	}
	return false
}

// tail keeps the last bytes written to it.
type tail struct {
	kept []byte
	cut  bool // the first line of kept is not whole
}

const tailSize = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if len(t.kept) > tailSize {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailSize:]...)
		t.cut = true
	}
	return len(p), nil
}

// String leaves out what may be half a line, and with it half a password. A
// remote that breaks off can have NULs in its messages, which no text column and no
// JSON in Postgres can hold.
func (t *tail) String() string {
	kept := t.kept
	if end := bytes.IndexByte(kept, '\n'); t.cut && end >= 0 {
		kept = kept[end+1:]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(kept), "\x00", ""), "?")
}

// bounded is a buffer that refuses to grow beyond its limit. The buffer is a
// member and not embedded: io.Copy would find its ReadFrom, which knows no limit.
type bounded struct {
	buffer bytes.Buffer
	limit  int
	full   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > b.limit {
		b.full = true
		return 0, errTooLong
	}
	return b.buffer.Write(p)
}
