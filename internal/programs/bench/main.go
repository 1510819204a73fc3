// The bench program measures casq against a reference of the same run on this
// machine: private, durable servers, started for it and removed at the end.
//
// It prints one JSON object a line: bench, ours, reference, unit, ratio (ours
// by reference; rates: higher is better, seconds and milliseconds: lower),
// ratio_min and ratio_max (the least and the most of single rounds), rounds and note.
// Reference and ours take turns; the figures are medians. On a terminal it says how far it is.
// At the end a table is on the error output; with -table, as rows of Markdown in place of the
// lines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"casq/internal/programs/bench/measure"
	"casq/internal/programs/bench/replicas"
	"casq/internal/testing/workers"

	"golang.org/x/term"
)

// benches are in the order in which they run.
func benches(minutes, rows int) measure.Set {
	return measure.Set{
		{Name: "append", Run: appending},
		{Name: "transpose", Run: transpose},
		{Name: "sync", Run: syncJobs},
		{Name: "copy", Run: copyFiles},
		{Name: "large", Run: copyLarge},
		{Name: "mirror", Run: mirrors},
		{Name: "remove", Run: removeFiles},
		{Name: "resync", Run: resyncAll},
		{Name: "latency", Run: latency},
		{Name: "half", Run: halfLatency},
		{Name: "memory", Run: memory},
		{Name: "reconcile", Run: reconcileAll},
		{Name: "wakeup", Run: wakeup},
		{Name: "probe", Run: probeRefs},
		{Name: "failover", Run: failover},
		{Name: "increments", Run: increments},
		{Name: "recount", Run: benchRecount},
		{Name: "staleness", Run: staleness},
		{Name: "stick", Run: replicas.Stick},
		{Name: "session", Run: replicas.Session},
		{Name: "commit", Run: replicas.Commits},
		{Name: "relief", Run: replicas.Relief},
		{Name: "stale", Run: replicas.Stale},
		{Name: "pickup", Run: pickup},
		{Name: "late", Run: latePickup},
		{Name: "picks", Run: picks},
		{Name: "burst", Run: burst},
		{Name: "sibling", Run: sibling},
		{Name: "waiting", Run: waiting},
		{Name: "trace", Run: traces},
		{Name: "artifact", Run: uploads},
		{Name: "view", Run: views},
		{Name: "move", Run: moves},
		{Name: "push", Run: pushes},
		{Name: "field", Run: field, ByHand: true},
		{Name: "growth", Run: growth(rows), ByHand: true},
		{Name: "glance", Run: glances(rows), ByHand: true},
		{Name: "soak", Run: soak(minutes), ByHand: true},
	}
}

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if child, err := workers.Child(ctx, args, out); child {
		return err
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(messages)
	only := flags.String("run", "", "run this benchmark only")
	minutes := flags.Int("minutes", 30, "run soak for so long")
	rows := flags.Int("rows", 1_000_000, "grow to so many rows")
	list := flags.Bool("list", false, "list the benchmarks")
	table := flags.Bool("table", false, "print a table in Markdown in place of JSON lines")
	child := flags.String("child", "", "used by the program itself: be a worker on this database")
	keep := flags.Duration("keep", 0, "with -child: keep events and jobs for so long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *child != "" {
		return beWorker(ctx, *child, *keep)
	}
	if *list {
		_, err := fmt.Fprintln(out, strings.Join(benches(*minutes, *rows).Names(), "\n"))
		return err
	}
	chosen, err := benches(*minutes, *rows).Choose(*only)
	if err != nil {
		return err
	}
	return chosen.Run(ctx, measure.Output{Lines: out, Messages: messages, Table: *table, Terminal: terminal(messages)})
}

// terminal returns what progress is told on; nil where nobody reads it.
func terminal(messages io.Writer) io.Writer {
	if file, ok := messages.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return file
	}
	return nil
}
