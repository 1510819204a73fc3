package localrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Executor is what a runner runs jobs with.
type Executor string

// Jobs run as processes of this machine, or in containers.
const (
	Shell  Executor = "shell"
	Docker Executor = "docker"
)

// runnerProcess is a gitlab-runner that works for this run.
type runnerProcess struct {
	ended chan struct{} // closed at its end
	err   error         // of its end, then
	pid   int
	log   string // the file of what it says
}

const (
	// runnerStopTime is how long the runner has to end what it has.
	runnerStopTime = 10 * time.Second
	// dockerImage is for jobs without one.
	dockerImage = "alpine:latest"
)

// ErrNoRunner says that there is no gitlab-runner.
var ErrNoRunner = errors.New("gitlab-runner is not installed")

func findRunner(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.Abs(path) // it works in another folder
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w: install it (https://docs.gitlab.com/runner/install), or name its program by --runner", ErrNoRunner, err)
	}
	return path, nil
}

// configuration is the runner's config.toml.
func (r *run) configuration(url, token string) string {
	text := strconv.Quote
	var c strings.Builder
	fmt.Fprintf(&c, "concurrent = %d\ncheck_interval = 1\nshutdown_timeout = %d\n\n", r.cfg.Concurrent, int(runnerStopTime/time.Second))
	fmt.Fprintf(&c, "[[runners]]\n  name = \"enqueue exec\"\n  url = %s\n  token = %s\n  executor = %s\n", text(url), text(token), text(string(r.cfg.Executor)))
	fmt.Fprintf(&c, "  request_concurrency = %d\n", r.cfg.Concurrent)
	switch r.cfg.Executor {
	case Shell:
		fmt.Fprintf(&c, "  builds_dir = %s\n  cache_dir = %s\n", text(r.place.path("builds")), text(r.place.path("cache")))
	case Docker:
		// Jobs and what uploads for them reach the coordinator as this machine does.
		fmt.Fprintf(&c, "  [runners.docker]\n    image = %s\n    network_mode = \"host\"\n    volumes = [%s, \"/cache\"]\n",
			text(dockerImage), text(r.snapshot.dir+":"+r.snapshot.dir+":ro"))
	}
	return c.String()
}

// startRunner starts the runner.
func (r *run) startRunner(ctx context.Context, url, token string) (*runnerProcess, error) {
	config := r.place.path("config.toml")
	for _, dir := range []string{"builds", "cache", "tmp"} {
		if err := os.Mkdir(r.place.path(dir), 0o700); err != nil {
			return nil, fmt.Errorf("make the runner's folder: %w", err)
		}
	}
	if err := os.WriteFile(config, []byte(r.configuration(url, token)), 0o600); err != nil {
		return nil, fmt.Errorf("write the runner's configuration: %w", err)
	}
	p := &runnerProcess{ended: make(chan struct{}), log: r.place.path("runner.log")}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the runner's log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.program, "run", "--config", config, "--working-directory", r.place.dir)
	cmd.Dir = r.place.dir
	cmd.Env = slices.Concat(r.cfg.Environment, []string{marker + "=" + r.place.dir, "TMPDIR=" + r.place.path("tmp")})
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: what a terminal sends is for this process, which tells the
	// runner. When this process is killed the kernel tells it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// The kernel goes by the thread that has started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start gitlab-runner: %w", err)
	}
	return p, nil
}

// stop ends the runner: it ends what it has.
func (p *runnerProcess) stop() {
	_ = syscall.Kill(p.pid, syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(runnerStopTime)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		<-p.ended
	}
}

// died is the error of a runner that has ended by itself.
func (p *runnerProcess) died() error {
	return fmt.Errorf("gitlab-runner has ended: %w; the last that it said:\n%s", cmpErr(p.err, errEnded), p.said())
}

var errEnded = errors.New("exit status 0")

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// said is the end of the runner's own log.
func (p *runnerProcess) said() string {
	const tail = 2048
	file, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		_, _ = file.Seek(max(0, info.Size()-tail), io.SeekStart)
	}
	text, _ := io.ReadAll(io.LimitReader(file, tail))
	return string(clean(bytes.ReplaceAll(bytes.TrimSpace(text), []byte{'\n'}, []byte("; ")), false))
}
