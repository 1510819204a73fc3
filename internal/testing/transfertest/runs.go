package transfertest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"casq/internal/testing/unguarded"
	"casq/transfer"
)

// Twin is the fenced transfer, or its naive twin.
type Twin struct {
	Name     string
	Unfenced bool
}

// Twins are both.
var Twins = []Twin{{"fenced", false}, {"naive twin", true}}

// Git is the one that the late process has.
func (t Twin) Git(test *testing.T) string {
	test.Helper()
	if !t.Unfenced {
		return ""
	}
	return unguarded.Git(test)
}

// Mover begins runs.
type Mover interface {
	Begin(ctx context.Context, place transfer.Place) (transfer.Run, error)
}

// BeginFunc is the Begin of a transfer.
type BeginFunc func(ctx context.Context, place transfer.Place) (transfer.Run, error)

// Unfenced is the naive twin of begin, which leaves alone what other claims have
// staged in a target.
func Unfenced(target string, begin BeginFunc) BeginFunc {
	return func(ctx context.Context, place transfer.Place) (run transfer.Run, err error) {
		err = unguarded.Target(target).Around(func() (err error) {
			run, err = begin(ctx, place)
			return err
		})
		return run, err
	}
}

// Sync does a run that copies and publishes, and closes it.
func Sync(t *testing.T, m Mover, place transfer.Place, payload string) (transfer.Result, error) {
	t.Helper()
	run, err := m.Begin(t.Context(), place)
	if err != nil {
		return transfer.Result{}, err
	}
	result, err := run.Copy(t.Context(), json.RawMessage(payload))
	if err == nil {
		err = run.Publish(t.Context())
	}
	return result, errors.Join(err, run.Close())
}

// Remove does a run that removes, and closes it.
func Remove(t *testing.T, m Mover, place transfer.Place) error {
	t.Helper()
	run, err := m.Begin(t.Context(), place)
	if err != nil {
		return err
	}
	return errors.Join(run.Remove(t.Context()), run.Close())
}
