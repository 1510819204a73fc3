package races

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/child"
	"casq/internal/testing/unguarded"
	"casq/internal/worker"

	"golang.org/x/sys/unix"
)

const (
	workerChild    = "worker"
	workerVariable = "CASQ_TEST_WORKER"
	// takeoverPatience is for what waits for a claim's end, or for a process to
	// start: many times what it takes on a busy machine.
	takeoverPatience = 40 * time.Second
	// claimTTL is short, so that what a process leaves behind is taken over
	// soon, and long against the pauses of a busy machine.
	claimTTL = 1500 * time.Millisecond
)

func init() { children[workerChild] = workerMain }

// workerSpec is a worker in a process of its own, which signals itself when
// it first comes to a point: with SIGKILL or SIGSTOP, so that it does not run
// one instruction more.
type workerSpec struct {
	At     string
	Signal syscall.Signal

	HomeURL, SourceURL                 string // SourceURL "" is home
	ArtifactSource, ArtifactTarget     string
	RepositorySource, RepositoryTarget string
	ClaimTTL, PublishTimeout           time.Duration
	ByHandle                           bool // a naive twin holds its folders so
	HTTPAddr                           string
	// Path is put before PATH: programs there are found first.
	Path string
}

func workerMain() int {
	var spec workerSpec
	if err := json.Unmarshal([]byte(os.Getenv(workerVariable)), &spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if spec.ByHandle {
		if err := spec.hold(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	cfg := spec.config(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	var once sync.Once
	cfg.Hook = func(point string) {
		if point == spec.At {
			once.Do(func() { child.SignalSelf(spec.Signal) })
		}
	}
	if err := worker.Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// hold names the folders of files by handles.
func (s *workerSpec) hold() error {
	var errs [2]error
	s.ArtifactSource, errs[0] = unguarded.Folder(s.ArtifactSource)
	s.ArtifactTarget, errs[1] = unguarded.Folder(s.ArtifactTarget)
	return errors.Join(errs[:]...)
}

func (s workerSpec) config(logger *slog.Logger) worker.Config {
	return worker.Config{
		HomeURL: s.HomeURL, SourceURL: s.SourceURL,
		ArtifactSource: s.ArtifactSource, ArtifactTarget: s.ArtifactTarget,
		RepositorySource: s.RepositorySource, RepositoryTarget: s.RepositoryTarget,
		ClaimTTL: s.ClaimTTL, CursorWait: 100 * time.Millisecond, Concurrency: 8,
		PublishTimeout: s.PublishTimeout,
		HTTPAddr:       s.HTTPAddr,
		Logger:         logger,
	}
}

// process is a worker in a child of this process.
type process struct {
	*child.Process
	log *lockedBuffer
}

// startWorker starts a worker in a process of its own.
func startWorker(t *testing.T, spec workerSpec) *process {
	t.Helper()
	encoded, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(cmd.Environ(), childVariable+"="+workerChild, workerVariable+"="+string(encoded))
	if spec.Path != "" {
		cmd.Env = append(cmd.Env, "PATH="+spec.Path+":/usr/local/bin:/usr/bin:/bin")
	}
	cmd.Stdout, cmd.Stderr = log, log
	started, err := child.Start(cmd)
	if err != nil {
		t.Fatalf("start worker: %v", err)
	}
	p := &process{started, log}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("process %d, to be signalled at %q, wrote:\n%s", p.Pid(), spec.At, p.log)
		}
	})
	return p
}

// frozen returns when the process has stopped itself.
func (p *process) frozen(t *testing.T) {
	t.Helper()
	select {
	case <-p.Frozen():
	case <-p.Ended():
		t.Fatalf("the worker ended (%v) before it was frozen", p.Err())
	case <-time.After(takeoverPatience):
		t.Fatal("the worker did not come to the point where it freezes")
	}
}

// killed returns when the process has killed itself.
func (p *process) killed(t *testing.T) {
	t.Helper()
	p.ended(t)
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
			return
		}
	}
	t.Fatalf("the worker ended with %v, want SIGKILL", p.Err())
}

// freeze stops a process wherever it is.
func (p *process) freeze(t *testing.T) {
	t.Helper()
	if err := p.Signal(unix.SIGSTOP); err != nil {
		t.Fatalf("freeze the worker: %v", err)
	}
	p.frozen(t)
}

// thaw lets a frozen process go on.
func (p *process) thaw(t *testing.T) {
	t.Helper()
	if err := p.Signal(unix.SIGCONT); err != nil {
		t.Fatalf("thaw the worker: %v", err)
	}
}

// stop ends the process in order: what it has in hand is done with then.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatalf("stop the worker: %v", err)
	}
	p.ended(t)
	if p.Err() != nil {
		t.Fatalf("the worker ended with %v, want success", p.Err())
	}
}

func (p *process) ended(t *testing.T) {
	t.Helper()
	select {
	case <-p.Ended():
	case <-time.After(takeoverPatience):
		t.Fatal("the worker does not end")
	}
}

// lockedBuffer holds what a process writes.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// localWorker is a worker in this process. It counts the points that it comes
// to.
type localWorker struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	points sync.Map // of *atomic.Int64, by name
}

// startLocal starts a worker in this process, which is the one that was not
// killed or frozen. It is stopped at the end of the test at the latest.
func startLocal(t *testing.T, cfg worker.Config) *localWorker {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &localWorker{cancel: cancel, done: make(chan struct{})}
	then := cfg.Hook
	cfg.Hook = func(point string) {
		w.counter(point).Add(1)
		if then != nil {
			then(point)
		}
	}
	go func() {
		defer close(w.done)
		w.err = worker.Run(ctx, cfg)
	}()
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *localWorker) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	<-w.done
	if w.err != nil {
		t.Errorf("worker: %v", w.err)
	}
}

func (w *localWorker) counter(point string) *atomic.Int64 {
	n, _ := w.points.LoadOrStore(point, new(atomic.Int64))
	return n.(*atomic.Int64) //nolint:errcheck // nothing else is stored
}

// times is how often the worker came to a point.
func (w *localWorker) times(point string) int64 { return w.counter(point).Load() }

// logTo writes to the test's log, with a name.
func logTo(t *testing.T, name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil)).With("worker", name)
}
