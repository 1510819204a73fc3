package testdb

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// Example runs an Example function with what tests have: it may be given to [New]
// and ends when run returns. What would fail a test ends the example by a panic.
func Example(run func(t testing.TB)) {
	e := &example{ctx: context.Background()}
	defer e.clean()
	run(e)
}

// example is as much of a testing.TB as this package needs.
type example struct {
	testing.TB // nil: the interface cannot be implemented by others

	ctx      context.Context //nolint:containedctx // a test has one, too
	cleanups []func()
}

func (e *example) Helper() {}

func (e *example) Context() context.Context { return e.ctx }

func (e *example) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

// Failed is false: an example that fails panics.
func (e *example) Failed() bool { return false }

func (e *example) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (e *example) Error(args ...any) { panic(fmt.Sprint(args...)) }

func (e *example) clean() {
	for _, cleanup := range slices.Backward(e.cleanups) {
		cleanup()
	}
}
