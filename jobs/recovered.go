package jobs

import (
	"context"
	"fmt"
	"runtime/debug"
)

// recovered returns a panic of f as an error, so that its run gives its claim
// back like any other. River would store the panic's value as it is, and one NUL
// in it has every batch of completions refused; see storable.
func (w *Worker) recovered(ctx context.Context, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = forRiver(fmt.Errorf("the run panicked: %v", p))
			w.cfg.Logger.ErrorContext(ctx, "run panicked", "err", err, "stack", string(debug.Stack()))
		}
	}()
	return f()
}
