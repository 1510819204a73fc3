package testproc_test

import (
	"fmt"
	"os"
	"testing"

	"casq/internal/testproc"

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

func TestPeakMemoryGrows(t *testing.T) {
	t.Parallel()
	testproc.Start(t, "growing").Await("grown")
}

// growing is a child, since a peak stays.
func growing([]string) error {
	before, err := testproc.PeakMemory()
	if err != nil {
		return err
	}
	block := make([]byte, before+(64<<20))
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	after, err := testproc.PeakMemory()
	if err != nil || after < int64(len(block)) {
		return fmt.Errorf("peak %d after %d bytes more than %d, %w", after, len(block), before, err)
	}
	testproc.Say("grown")
	return nil
}
