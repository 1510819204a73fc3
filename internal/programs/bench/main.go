// The bench program measures casq against a reference of the same run on this
// machine: private, durable servers, started for it and removed at the end.
//
// It prints one JSON object a line: bench, ours, reference, unit, ratio (ours
// by reference; rates: higher is better, seconds and milliseconds: lower) and
// note. Reference and ours take turns; the figures are medians.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"casq/internal/testing/workers"
)

// result is one line of output.
type result struct {
	Bench     string  `json:"bench"`
	Ours      float64 `json:"ours"`
	Reference float64 `json:"reference"`
	Unit      string  `json:"unit"`
	Ratio     float64 `json:"ratio"`
	Note      string  `json:"note"`
}

// benches in the order in which they run.
var benches = []struct {
	name string
	run  func(context.Context) ([]result, error)
}{
	{"append", appending},
	{"transpose", transpose},
	{"sync", syncJobs},
	{"copy", copyFiles},
	{"remove", removeFiles},
	{"resync", resyncAll},
	{"latency", latency},
	{"memory", memory},
	{"reconcile", reconcileAll},
	{"wakeup", wakeup},
	{"probe", probeRefs},
	{"failover", failover},
	{"increments", increments},
	{"recount", benchRecount},
	{"staleness", staleness},
	{"stick", stick},
	{"session", session},
	{"commit", commits},
	{"relief", relief},
	{"stale", stale},
	{"pickup", pickup},
	{"late", latePickup},
	{"picks", picks},
	{"burst", burst},
	{"sibling", sibling},
	{"waiting", waiting},
	{"trace", traces},
	{"artifact", uploads},
	{"view", views},
	{"move", moves},
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if child, err := workers.Child(ctx, args, os.Stdout); child {
		return err
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("run", "", "run one bench only")
	child := flags.String("child", "", "used by the program itself: be a worker on this database")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *child != "" {
		return beWorker(ctx, *child)
	}
	known := false
	for _, b := range benches {
		if *only != "" && *only != b.name {
			continue
		}
		known = true
		if err := show(b.run(ctx)); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	if !known {
		return fmt.Errorf("unknown bench %q; known: %s", *only, strings.Join(names(), ", "))
	}
	return nil
}

func names() []string {
	var all []string
	for _, b := range benches {
		all = append(all, b.name)
	}
	return all
}

func show(results []result, err error) error {
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, r := range results {
		if r.Reference != 0 {
			r.Ratio = r.Ours / r.Reference
		}
		if err := out.Encode(r); err != nil {
			return fmt.Errorf("print a result: %w", err)
		}
	}
	return nil
}

// median of an odd or even number of measurements; the lower one then.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// percentile by nearest rank; p from 0 to 100.
func percentile(values []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}
