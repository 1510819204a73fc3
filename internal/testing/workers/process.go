package workers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is a worker.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; read after ended is closed
}

// launch starts a process, which dies with this one. Each line of its standard
// output is told.
func launch(program, spec string, tell func(line []byte)) (*process, error) {
	//nolint:noctx // it is signalled, not killed when a context ends
	cmd := exec.Command(program, childArgument, spec)
	cmd.Env = []string{"TMPDIR=" + os.TempDir()}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, started := &process{cmd: cmd, ended: make(chan struct{})}, make(chan error)
	go p.attend(output, started, tell)
	return p, <-started
}

// attend keeps the thread that starts the process: the signal for the parent's
// death is that of the thread's.
func (p *process) attend(output io.Reader, started chan<- error, tell func(line []byte)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		tell(line)
	}
	p.err = p.cmd.Wait()
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// kill ends the process, frozen or not.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}
