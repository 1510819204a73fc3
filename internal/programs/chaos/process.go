package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"casq/internal/testing/child"
)

// process is a worker that is killed, frozen and started again. When it ends
// by itself it is started again, as a supervisor does.
//
// mu guards the rest.
type process struct {
	name, program, specFile, logFile, path string
	orderFile                              string
	journal                                *journal

	mu      sync.Mutex
	running *child.Process // nil: none
	wanted  bool           // it is to be running
	group   sync.WaitGroup
}

func newProcess(c *chaos, s spec) (*process, error) {
	p := &process{
		name: s.Name, program: c.cfg.worker, path: s.Path, journal: c.journal,
		specFile: c.work.path(s.Name + ".json"), logFile: c.work.path(logs, s.Name+".log"),
		orderFile: s.Orders,
	}
	content, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(p.specFile, content, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("tell %s what to do: %w", s.Name, err)
	}
	err = p.start()
	return p, err
}

// start starts the process, which dies with this one. One that runs is left
// alone.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	return p.launch()
}

// launch is start for one who has the mutex.
func (p *process) launch() error {
	if p.running != nil {
		return nil
	}
	cmd := exec.CommandContext(context.Background(), p.program, workerArgument, p.specFile)
	cmd.Env = []string{"PATH=" + p.path, "TMPDIR=" + os.TempDir()}
	running, err := child.StartLogged(cmd, p.logFile)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.running = running
	p.group.Go(func() { p.attend(running) })
	return nil
}

// restartPause is a supervisor's, after a process that ended by itself.
const restartPause = 500 * time.Millisecond

// attend waits for the process's end, and starts it again if nobody asked for it.
func (p *process) attend(running *child.Process) {
	err := running.Err()
	p.mu.Lock()
	p.running = nil
	again := p.wanted
	p.mu.Unlock()
	if again {
		p.journal.say("%s ended by itself (%v) and is started again", p.name, err)
		time.Sleep(restartPause)
		p.restart()
	}
}

// restart starts the process again if it is still wanted.
func (p *process) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted {
		if err := p.launch(); err != nil {
			p.journal.say("cannot start %s again: %v", p.name, err)
		}
	}
}

// signal sends a signal; false when the process is not there.
func (p *process) signal(s syscall.Signal) bool {
	running := p.now()
	return running != nil && running.Signal(s) == nil
}

// now is the process that runs at present; nil: none.
func (p *process) now() *child.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// down ends the process by a signal and returns how it ended; nil when it was
// not there.
func (p *process) down(ctx context.Context, s syscall.Signal) error {
	p.mu.Lock()
	p.wanted = false
	running := p.running
	p.mu.Unlock()
	if running == nil {
		return nil
	}
	if err := running.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-running.Ended():
		return running.Err()
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", p.name, context.Cause(ctx))
	}
}

// stop ends the process for good, by SIGKILL if it takes too long.
func (p *process) stop() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), processStop, errors.New("it takes too long"))
	defer cancel()
	err := p.down(ctx, syscall.SIGTERM)
	p.kill()
	return err
}

// kill ends the process at once; it is not started again by itself.
func (p *process) kill() {
	_ = p.down(context.Background(), syscall.SIGKILL) // it cannot refuse
	p.group.Wait()
}

// processStop is longer than the worker's own limit of 10 s.
const processStop = 20 * time.Second
