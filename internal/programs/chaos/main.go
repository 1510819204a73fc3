package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errViolations) && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == workerArgument {
		return beWorker(ctx, args[1])
	}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	seed := flags.Uint64("seed", 0, "what faults come when; 0: one that is chosen and printed")
	seconds := flags.Int("seconds", 300, "how long faults are injected; waiting and comparing come on top")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *seconds < 1 || flags.NArg() > 0 {
		return errors.New("read the command line: want -seed N and -seconds N of 1 or more, nothing else")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixMilli()) % 1_000_000
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start workers: %w", err)
	}
	return play(ctx, config{
		seed: *seed, duration: time.Duration(*seconds) * time.Second, worker: program, out: out,
	})
}
