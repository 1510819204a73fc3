package child_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/child"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const roleVariable = "CASQ_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "freezing":
		child.SignalSelf(unix.SIGSTOP)
		os.Exit(3)
	case "parent":
		os.Exit(beParent())
	}
	goleak.VerifyTestMain(m)
}

// beParent starts a child that would stay, says its number, and dies.
func beParent() int {
	p, err := child.Start(exec.CommandContext(context.Background(), "sleep", "600"))
	if err != nil {
		return 1
	}
	if _, err := os.Stdout.WriteString(strconv.Itoa(p.Pid())); err != nil {
		return 1
	}
	child.SignalSelf(unix.SIGKILL)
	return 0
}

func self(t *testing.T, role string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(cmd.Environ(), roleVariable+"="+role)
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd) *child.Process {
	t.Helper()
	p, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestChildIsFrozenAndThawed(t *testing.T) {
	t.Parallel()
	p := start(t, self(t, "freezing"))
	select {
	case <-p.Frozen():
	case <-p.Ended():
		t.Fatalf("it ended before it froze: %v", p.Err())
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want exit status 3", p.Err())
	}
	if err := p.Signal(syscall.SIGCONT); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal to one that ended: %v", err)
	}
}

func TestFrozenChildIsKilled(t *testing.T) {
	t.Parallel()
	p := start(t, self(t, "freezing"))
	<-p.Frozen()
	p.Kill()
	p.Kill()
}

func TestChildIsStopped(t *testing.T) {
	t.Parallel()
	p := start(t, exec.CommandContext(context.Background(), "sh", "-c", `trap 'exit 0' TERM; kill -STOP $$; while :; do sleep 0.01; done`))
	<-p.Frozen()
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestChildThatDoesNotStopIsKilled(t *testing.T) {
	t.Parallel()
	p := start(t, self(t, "freezing"))
	<-p.Frozen() // and stays so: SIGTERM waits
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stopped with %v", err)
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	parent := self(t, "parent")
	parent.Stdout = &out
	p := start(t, parent)
	<-p.Ended()
	pid, err := strconv.Atoi(out.String())
	if err != nil {
		t.Fatalf("the parent said %q", out.String())
	}
	for deadline := time.Now().Add(time.Minute); ; {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the child lives on")
		}
	}
}

func TestWhatCannotBeStartedIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := child.Start(exec.CommandContext(t.Context(), "/no/such/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}
