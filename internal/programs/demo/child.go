package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// child is a worker process of one site.
type child struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; read it after done
}

// startWorker starts a worker that logs into a file. It dies with this process,
// also when that is killed, and leads a process group: Ctrl-C at a terminal
// reaches this process only, which then ends its children.
func startWorker(program, name, log string, env []string) (*child, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of the %s's worker: %w", name, err)
	}
	defer out.Close()
	c := &child{name: name, log: log, done: make(chan struct{})}
	//nolint:noctx // it is stopped in order, not killed when a context ends
	c.cmd = exec.Command(program, "run")
	c.cmd.Dir = filepath.Dir(log)
	c.cmd.Env = env
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go c.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the %s's worker: %w", name, err)
	}
	return c, nil
}

// run keeps the thread that started the process: the signal for the parent's
// death is sent at the end of that thread.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.err = c.cmd.Wait()
		close(c.done)
	}
}

// watch calls fail when the process ends without having been asked to.
func (c *child) watch(ctx context.Context, fail context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-c.done:
		fail(fmt.Errorf("the %s's worker ended: %w; its log ends with:\n%s", c.name, errEnd(c.err), c.tail()))
	}
}

func errEnd(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// childStop is longer than the worker's own limit, which is 10 s.
const childStop = 15 * time.Second

// stop ends the worker the way an operator does, and returns an error unless it
// says that it stopped in order.
func (c *child) stop() error {
	// Gone already: its end is what is returned.
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(childStop)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.kill()
		return fmt.Errorf("stop the %s's worker: it did not stop in %s", c.name, childStop)
	}
	if c.err != nil {
		return fmt.Errorf("stop the %s's worker: %w; its log ends with:\n%s", c.name, c.err, c.tail())
	}
	return nil
}

// kill ends the worker at once.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// tail returns the last lines of the log that are more than notices.
func (c *child) tail() string {
	const lines = 15
	var last []string
	c.eachLine(func(line string, record map[string]any) {
		if level, _ := record["level"].(string); level == "INFO" || level == "DEBUG" {
			return
		}
		last = append(last, line)
		last = last[max(0, len(last)-lines):]
	})
	if len(last) == 0 {
		return "(nothing but notices)"
	}
	return strings.Join(last, "\n")
}

// eachLine visits the log's lines, decoded if they are JSON.
func (c *child) eachLine(visit func(line string, record map[string]any)) {
	file, err := os.Open(c.log)
	if err != nil {
		return
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var record map[string]any
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			record = nil
		}
		visit(scanner.Text(), record)
	}
}

// searchPath is the PATH of children: git's own folder, wherever it is, and the
// usual ones. Nothing else is inherited, so that nothing that is configured for
// this machine's own casq reaches the demo's.
func searchPath() (string, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", fmt.Errorf("find git: %w (run `make deps`)", err)
	}
	if git, err = filepath.Abs(git); err != nil {
		return "", err
	}
	return filepath.Dir(git) + ":/usr/local/bin:/usr/bin:/bin", nil
}
