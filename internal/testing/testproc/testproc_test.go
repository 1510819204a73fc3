package testproc_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"casq/internal/testing/testproc"

	"go.uber.org/goleak"
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
