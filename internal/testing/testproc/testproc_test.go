package testproc_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"casq/internal/testing/testproc"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	children := map[string]func([]string) error{"freezing": freezing, "growing": growing}
	if code, child := testproc.Child(children); child {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func freezing(args []string) error {
	testproc.Freeze("frozen with " + args[0])
	testproc.Say("thawed")
	select {}
}

func TestChildIsFrozenThawedAndKilled(t *testing.T) {
	t.Parallel()
	p := testproc.Start(t, "freezing", "a b")
	p.AwaitFrozen("frozen with a b")
	p.Thaw()
	p.Await("thawed")
	p.Kill()
	p.Kill()
}

func TestFrozenChildIsKilled(t *testing.T) {
	t.Parallel()
	p := testproc.Start(t, "freezing", "nothing")
	p.AwaitFrozen("frozen with nothing")
	p.Kill()
}

// The thread that started it may end while the child lives.
func TestChildOutlivesAThread(t *testing.T) {
	t.Parallel()
	started := make(chan *testproc.Process)
	go onThreadThatEnds(func() { started <- testproc.Start(t, "freezing", "nothing") })
	p := <-started
	p.AwaitFrozen("frozen with nothing")
	for thread := <-ended; unix.Tgkill(unix.Getpid(), thread, 0) == nil; {
		runtime.Gosched()
	}
	p.Thaw()
	p.Await("thawed")
}

var ended = make(chan int, 1)

// onThreadThatEnds calls f on a thread that ends with it. The main one cannot.
func onThreadThatEnds(f func()) {
	runtime.LockOSThread() // never unlocked
	if unix.Gettid() == unix.Getpid() {
		done := make(chan struct{})
		go func() { defer close(done); onThreadThatEnds(f) }()
		<-done
		runtime.UnlockOSThread()
		return
	}
	f()
	ended <- unix.Gettid()
}

func TestPeakMemoryStays(t *testing.T) {
	t.Parallel()
	p := testproc.Start(t, "growing")
	p.AwaitFrozen("small")
	before := p.PeakMemory()
	p.Thaw()
	p.AwaitFrozen("grown and shrunk")
	if after := p.PeakMemory(); after < before+block {
		t.Errorf("peak %d, and %d after %d bytes more", before, after, block)
	}
}

const block = 256 << 20

func growing([]string) error {
	testproc.Freeze("small")
	touched := make([]byte, block)
	for i := 0; i < block; i += 4096 {
		touched[i] = 1
	}
	runtime.KeepAlive(touched)
	debug.FreeOSMemory()
	testproc.Freeze("grown and shrunk")
	return nil
}
