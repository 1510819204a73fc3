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

	"casq/internal/testing/workers"
)

// leastLease leaves a renewal time to come on a busy machine.
const leastLease = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errWrong) && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "failover:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if child, err := workers.Child(ctx, args, out); child {
		return err
	}
	flags := flag.NewFlagSet("failover", flag.ContinueOnError)
	lease := flags.Duration("lease", 20*time.Second, "how long the lease lasts when it is not renewed; 1s or more")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *lease < leastLease || flags.NArg() > 0 {
		return fmt.Errorf("read the command line: want -lease of %s or more, nothing else", leastLease)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start workers: %w", err)
	}
	return play(ctx, config{lease: *lease, program: program, out: out})
}
