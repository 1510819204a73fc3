package transfertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"casq/internal/testing/child"
	"casq/transfer"

	"golang.org/x/sys/unix"
)

// childArgument makes the test binary a worker process for one run.
const childArgument = "one-run"

// ChildMain is for TestMain: in a process that is a child it does what that is to do, and
// returns the exit code.
func ChildMain(open OpenFunc) (code int, isChild bool) {
	if len(os.Args) != 3 || os.Args[1] != childArgument {
		return 0, false
	}
	return childMain(os.Args[2], open), true
}

// OpenFunc opens what a child moves with.
type OpenFunc func(ctx context.Context, c *Child) (Closable, error)

// Closable is a transfer that is closed in the end.
type Closable interface {
	Mover
	io.Closer
}

// Child says what a child process does: one run, frozen or killed by its
// own hand at a named point.
type Child struct {
	Source, Target string
	Place          transfer.Place
	Removal        bool
	GitPath        string
	At             string
	Signal         int

	once sync.Once
}

func childMain(spec string, open OpenFunc) int {
	var s Child
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		fmt.Println(err)
		return 2
	}
	err := s.run(context.Background(), open)
	switch {
	case errors.Is(err, transfer.ErrFenced):
		fmt.Println("fenced")
	case err != nil:
		fmt.Println("error:", err)
	default:
		fmt.Println("done")
	}
	return 0
}

func (s *Child) run(ctx context.Context, open OpenFunc) error {
	with, err := open(ctx, s)
	if err != nil {
		return err
	}
	run, err := with.Begin(ctx, s.Place)
	if err != nil {
		return errors.Join(err, with.Close())
	}
	return errors.Join(s.finish(ctx, run), run.Close(), with.Close())
}

func (s *Child) finish(ctx context.Context, run transfer.Run) error {
	if s.Removal {
		return run.Remove(ctx)
	}
	if _, err := run.Copy(ctx, nil); err != nil {
		return err
	}
	return run.Publish(ctx)
}

// Hook signals the calling thread, so that it does not run one instruction more.
func (s *Child) Hook(point string) {
	if point != s.At {
		return
	}
	s.once.Do(func() { child.SignalSelf(syscall.Signal(s.Signal)) })
}

// Process is a child that does what a [Child] says.
type Process struct {
	*child.Process
	out *strings.Builder
}

// Said is what it has said at its end.
func (p *Process) Said(t *testing.T) string {
	t.Helper()
	Must(t, p.Err())
	return strings.TrimSpace(p.out.String())
}

// Start starts a child.
func Start(t *testing.T, spec *Child) *Process {
	t.Helper()
	encoded, err := json.Marshal(spec)
	Must(t, err)
	out := &strings.Builder{}
	cmd := exec.CommandContext( //nolint:gosec // the test itself, again
		context.WithoutCancel(t.Context()), os.Args[0], childArgument, string(encoded))
	cmd.Stdout, cmd.Stderr = out, out
	started, err := child.Start(cmd)
	Must(t, err)
	t.Cleanup(started.Kill)
	return &Process{started, out}
}

// StartFrozen returns when the child has stopped itself at the point.
func StartFrozen(t *testing.T, spec *Child) *Process {
	t.Helper()
	spec.Signal = int(unix.SIGSTOP)
	p := Start(t, spec)
	select {
	case <-p.Frozen():
	case <-p.Ended():
		t.Fatalf("child ended before %s: %s", spec.At, p.out)
	}
	return p
}

// Thaw lets the child go on and returns what it says at its end.
func (p *Process) Thaw(t *testing.T) string {
	t.Helper()
	Must(t, p.Signal(unix.SIGCONT))
	return p.Said(t)
}

// Late is a run that is frozen right before it acts, while one of a later claim passes.
type Late struct {
	Run       *Child            // and where it is frozen
	Meanwhile func()            // what the later one does
	Wins      func(said string) // checks that the late act has won, as it does without the fence
	Loses     func()            // checks that what the later one did stands
}

// PlayLate plays it fenced, and then, as the twin, not.
func PlayLate(t *testing.T, play func(t *testing.T, twin Twin) Late) {
	t.Helper()
	for _, twin := range Twins {
		t.Run(twin.Name, func(t *testing.T) {
			t.Parallel()
			late := play(t, twin)
			run := StartFrozen(t, late.Run)
			late.Meanwhile()
			said := run.Thaw(t)
			if twin.Unfenced {
				late.Wins(said)
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			late.Loses()
			WantNoStaging(t, late.Run.Target)
		})
	}
}

// RunKilled runs a child that kills itself at the point.
func RunKilled(t *testing.T, spec *Child) {
	t.Helper()
	spec.Signal = int(unix.SIGKILL)
	p := Start(t, spec)
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return
		}
	}
	t.Fatalf("child was not killed at %s: %v: %s", spec.At, p.Err(), p.out)
}
