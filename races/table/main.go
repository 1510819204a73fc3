// Table plays the races and prints what became of them: one line for each
// race, with its naive twins and with ours.
//
// A race is a top-level test TestR01UpdateUpdate in the races folder. Its
// subtests say what is compared: "ours" plays the real code; "twin/<name>"
// plays a naive twin and passes when the twin goes wrong; "twin/<name>/wins"
// passes when the twin does as well as ours, which is asserted too, since a
// twin that loses everywhere proves nothing.
//
// Usage:
//
//	go run ./races/table [-race R01,S1] [-dir races]
//
// A race is won when its test has passed, with "ours" in it, and nothing was
// skipped. The last line is "races: N won, M lost"; the exit status is 0 only
// when M is 0. A failure that belongs to no race, such as a leaked goroutine,
// ends the program without that line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

var errLost = errors.New("not every race was won")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errLost) && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "races:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("table", flag.ContinueOnError)
	flags.SetOutput(stderr)
	want := flags.String("race", "", "races (R01) or groups (S1) to play, comma separated; default: all")
	dir := flags.String("dir", "races", "folder of the races")
	if err := flags.Parse(args); err != nil {
		return err
	}
	races, err := findRaces(*dir)
	if err != nil {
		return err
	}
	races, err = choose(races, *want)
	if err != nil {
		return err
	}
	results, err := play(ctx, races, stderr)
	if err != nil {
		return err
	}
	return printTable(stdout, races, results)
}

// play runs the tests of the races with the race detector. That tests fail is
// a result, not an error.
func play(ctx context.Context, races []race, stderr io.Writer) (*results, error) {
	args := []string{"test", "-race", "-json", "-count=1", "-timeout=30m", "-run", pattern(races)}
	for _, dir := range folders(races) {
		// Without ./ the folder would be looked for among the standard packages.
		pkg, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("find folder of the races: %w", err)
		}
		args = append(args, pkg)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = races[0].dir
	shared := &lockedWriter{w: stderr}
	cmd.Stderr = shared
	// go test ends its own test binaries when it is interrupted, but not when
	// it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("read from go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start go test: %w", err)
	}
	res, err := readResults(stdout, shared)
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("play the races: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return nil, fmt.Errorf("run go test: %w", waitErr)
	}
	return res, nil
}

// lockedWriter lets go test and the progress write to one place.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
