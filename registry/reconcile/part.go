package reconcile

import (
	"context"
	"errors"
	"fmt"

	"casq/eventlog"
	"casq/internal/database"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// targetError is what a target said, and not a database.
type targetError struct{ err error }

// Error implements error.
func (e *targetError) Error() string { return e.err.Error() }

// Unwrap returns what it was.
func (e *targetError) Unwrap() error { return e.err }

// isOfKind tells whether an error that was met with a kind is that kind's own: its
// table is gone, a row cannot be read or written, its folder is not readable. An error
// that another host, or a later try, may not have for any kind is not.
func isOfKind(err error) bool {
	for _, passing := range []error{
		errTakenOver, registry.ErrSelectionChanged, errCursorBehind, ErrLateSource, eventlog.ErrNoTicks,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, passing) {
			return false
		}
	}
	if database.Code(err) != "" {
		return database.Refused(err)
	}
	_, target := errors.AsType[*targetError](err)
	return target
}

// part splits a kind off that cannot be compared, so that the others are: a run of
// its own has the reason, and tries again with all that this one was to do for the
// kind. A run of one kind has nothing to split. Dying in between, or doing it
// twice, sets the part back to its beginning.
func (run *takenRun) part(ctx context.Context, kind string, cause error) error {
	if run.kind != "" || !isOfKind(cause) {
		return cause
	}
	var id int64
	err := run.cfg.Home.QueryRow(ctx, runSQL.Part, run.id, run.cfg.Process, kind, explain(cause), run.cfg.Patience).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errTakenOver
	case err != nil:
		return errors.Join(cause, fmt.Errorf("split kind %s off: %w", kind, err))
	}
	run.log.WarnContext(ctx, "kind cannot be compared, the others go on; it is tried again by a run of its own",
		"run", run.id, "kind", kind, "own_run", id, "err", cause)
	run.apart[kind] = true
	return nil
}

// mostReason is how much a run keeps of an error, in bytes.
const mostReason = 4000

// explain is an error with what Postgres says can be done about it.
func explain(err error) string {
	text := err.Error()
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Hint != "" {
		text += ". " + refused.Hint
	}
	return database.Text(text, mostReason)
}
