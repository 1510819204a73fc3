package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Benchmark is one that is run by its name.
type Benchmark struct {
	Name string
	Run  func(context.Context, *Bench) ([]Result, error)
	// ByHand is for what takes long, or needs more than this machine: it runs only when it is named.
	ByHand bool
}

// Set has benchmarks in the order in which they run.
type Set []Benchmark

// Choose returns the benchmark of that name; without one those that are not run by hand.
func (s Set) Choose(name string) (Set, error) {
	chosen := slices.DeleteFunc(slices.Clone(s), func(b Benchmark) bool {
		return b.Name != name && (name != "" || b.ByHand)
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("run %q: there is no such benchmark; there are %s", name, strings.Join(s.Names(), ", "))
	}
	return chosen, nil
}

// Names tells of each benchmark what it is called, and whether it runs only when it is named.
func (s Set) Names() (all []string) {
	for _, b := range s {
		if b.ByHand {
			b.Name += " (by hand)"
		}
		all = append(all, b.Name)
	}
	return all
}

// Output is where it is told what was measured.
type Output struct {
	Lines    io.Writer // one JSON object a line, each as soon as it is known
	Messages io.Writer // a table at the end
	Terminal io.Writer // how far it is; nil for nobody who reads it
	// Table has a table in Markdown take the place of the lines.
	Table bool
}

// Run runs benchmarks one after the other, also after one that fails.
func (s Set) Run(ctx context.Context, o Output) error {
	var all []Result
	var errs []error
	began := time.Now()
	for _, b := range s {
		results, err := b.measure(ctx, o.Terminal)
		all = append(all, results...)
		if !o.Table {
			err = errors.Join(err, writeLines(o.Lines, results))
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if o.Table {
		return errors.Join(append(errs, Markdown(o.Lines, all))...)
	}
	errs = append(errs, Table(o.Messages, all))
	fmt.Fprintf(o.Messages, "%d figures in %s\n", len(all), time.Since(began).Round(time.Second))
	return errors.Join(errs...)
}

func (b Benchmark) measure(ctx context.Context, terminal io.Writer) ([]Result, error) {
	running := &Bench{name: b.Name, terminal: terminal, began: time.Now()}
	running.Say("begins")
	defer running.clear()
	results, err := b.Run(ctx, running)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name, err)
	}
	return results, nil
}

func writeLines(w io.Writer, results []Result) error {
	lines := json.NewEncoder(w)
	for _, r := range results {
		if err := lines.Encode(r); err != nil {
			return fmt.Errorf("print a result: %w", err)
		}
	}
	return nil
}
