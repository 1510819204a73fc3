package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"casq/internal/testing/child"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childArgument makes the test binary a worker process for one run.
const childArgument = "one-run"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childArgument {
		os.Exit(childMain(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// childSpec says what a child process does: one run, frozen or killed by its
// own hand at a named point.
type childSpec struct {
	Source, Target string
	Place          Place
	Repository     bool
	Removal        bool
	GitPath        string
	At             string
	Signal         int

	once sync.Once
}

func childMain(spec string) int {
	var s childSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		fmt.Println(err)
		return 2
	}
	err := s.run(context.Background())
	switch {
	case errors.Is(err, ErrFenced):
		fmt.Println("fenced")
	case err != nil:
		fmt.Println("error:", err)
	default:
		fmt.Println("done")
	}
	return 0
}

func (s *childSpec) run(ctx context.Context) error {
	begin, closer, err := s.open(ctx)
	if err != nil {
		return err
	}
	run, err := begin(ctx, s.Place)
	if err != nil {
		return errors.Join(err, closer())
	}
	return errors.Join(s.finish(ctx, run), run.Close(), closer())
}

func (s *childSpec) finish(ctx context.Context, run Run) error {
	if s.Removal {
		return run.Remove(ctx)
	}
	if _, err := run.Copy(ctx, nil); err != nil {
		return err
	}
	return run.Publish(ctx)
}

type beginFunc func(context.Context, Place) (Run, error)

func (s *childSpec) open(ctx context.Context) (beginFunc, func() error, error) {
	if s.Repository {
		repositories, err := OpenRepositories(ctx, RepositoriesConfig{
			SourceURL: s.Source, TargetDir: s.Target, TestHook: s.hook,
			GitPath: s.GitPath,
		})
		if err != nil {
			return nil, nil, err
		}
		return repositories.Begin, repositories.Close, nil
	}
	files, err := filesSetup{SourceURL: s.Source, FilesConfig: FilesConfig{Target: s.Target, TestHook: s.hook}}.open()
	if err != nil {
		return nil, nil, err
	}
	return files.Begin, files.Close, nil
}

// hook signals the calling thread, so that it does not run one instruction more.
func (s *childSpec) hook(point string) {
	if point != s.At {
		return
	}
	s.once.Do(func() { child.SignalSelf(syscall.Signal(s.Signal)) })
}

// process is a child that runs a childSpec.
type process struct {
	*child.Process
	out *strings.Builder // read it when the process has ended
}

func startChild(t *testing.T, spec *childSpec) *process {
	t.Helper()
	encoded, err := json.Marshal(spec)
	must(t, err)
	out := &strings.Builder{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], childArgument, string(encoded))
	cmd.Stdout, cmd.Stderr = out, out
	started, err := child.Start(cmd)
	must(t, err)
	t.Cleanup(started.Kill)
	return &process{started, out}
}

// startFrozen returns when the child has stopped itself at the point.
func startFrozen(t *testing.T, spec *childSpec) *process {
	t.Helper()
	spec.Signal = int(unix.SIGSTOP)
	p := startChild(t, spec)
	select {
	case <-p.Frozen():
	case <-p.Ended():
		t.Fatalf("child ended before %s: %s", spec.At, p.out)
	}
	return p
}

// thaw lets the child go on and returns what it says at its end.
func (p *process) thaw(t *testing.T) string {
	t.Helper()
	must(t, p.Signal(unix.SIGCONT))
	must(t, p.Err())
	return strings.TrimSpace(p.out.String())
}

// runKilled runs a child that kills itself at the point.
func runKilled(t *testing.T, spec *childSpec) {
	t.Helper()
	spec.Signal = int(unix.SIGKILL)
	p := startChild(t, spec)
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return
		}
	}
	t.Fatalf("child was not killed at %s: %v: %s", spec.At, p.Err(), p.out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeProgram writes a program that a test runs. No process is forked meanwhile:
// the child would hold the file open for writing, and running it would fail with
// ETXTBSY.
func writeProgram(t *testing.T, name, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	must(t, os.WriteFile(name, []byte(text), 0o755))
}

func wantError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

func claim() string { return uuid.NewString() }

func write(t *testing.T, folder, path, content string) {
	t.Helper()
	full := filepath.Join(folder, path)
	must(t, os.MkdirAll(filepath.Dir(full), 0o755))
	must(t, os.WriteFile(full, []byte(content), 0o644))
}

func wantContent(t *testing.T, folder, path, content string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(folder, path))
	must(t, err)
	if string(got) != content {
		t.Fatalf("%s holds %q, want %q", path, got, content)
	}
}

func wantAbsent(t *testing.T, folder, path string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(folder, path)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is there (%v), want it absent", path, err)
	}
}

// wantNoStaging checks that nothing was left behind.
func wantNoStaging(t *testing.T, target string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(target, stagingRoot))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == markName })
	if len(entries) > 0 {
		t.Fatalf("staging was left behind: %v", entries)
	}
}

// mountTmpfs mounts a small file system at a new folder, or skips the test.
func mountTmpfs(t *testing.T, at, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	must(t, os.MkdirAll(at, 0o755))
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting is not possible here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
}
