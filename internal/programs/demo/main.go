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

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	os.Exit(1)
}

// start runs what the command line asks for.
func start(ctx context.Context, args []string, out io.Writer) error {
	cfg := config{
		Out:    out,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&cfg.Source, "source", "", "the folder to replicate; the source of the Go toolchain by default")
	flags.BoolVar(&cfg.Keep, "keep", false, "leave both sites as they are at the end, to inspect them")
	flags.StringVar(&cfg.Worker, "worker", "bin/worker", "the worker program")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("read the command line: %q is no flag; want -source DIR, -keep, -worker FILE", flags.Arg(0))
	}
	if file, ok := out.(*os.File); ok {
		cfg.Terminal = term.IsTerminal(int(file.Fd()))
	}
	return run(ctx, cfg)
}
