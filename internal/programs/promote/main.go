package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "promote:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("promote", flag.ContinueOnError)
	duration := flags.Duration("duration", 8*time.Second, "how long the application writes before the loss")
	seed := flags.Uint64("seed", 1, "what the application does follows from it")
	verbose := flags.Bool("v", false, "show what workers log")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *duration <= 0 || flags.NArg() > 0 {
		return errors.New("read the command line: want -duration, -seed and -v, nothing else")
	}
	log := slog.New(slog.DiscardHandler)
	if *verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return rehearse(ctx, config{duration: *duration, seed: *seed, out: out, log: log})
}
