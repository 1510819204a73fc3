package cursor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Position returns how far a cursor of home has read the log. It has not started where
// it was never active: then there is none.
func Position(ctx context.Context, home eventlog.DB, name string) (at eventlog.Position, started bool, err error) {
	err = home.QueryRow(ctx, cursorSQL.Position, name).Scan(at.Fields()...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return at, false, nil
	case err != nil:
		return at, false, fmt.Errorf("read how far cursor %s has read: %w", name, err)
	}
	return at, true, nil
}

// Names returns the names of home's cursors, in order.
func Names(ctx context.Context, home eventlog.DB) ([]string, error) {
	rows, err := home.Query(ctx, cursorSQL.Names)
	if err != nil {
		return nil, fmt.Errorf("read the names of cursors: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the names of cursors: %w", err)
	}
	return names, nil
}

// State is where a cursor is, and who holds it.
type State struct {
	Name, Holder string // no holder: its session is over
	Epoch        int64
	Timeline     int32
	Tick         int64
	Nonce        uuid.UUID // the tick's
	ToTick, Page int64     // inside a step that is read in pages; else 0
	Beat, Moved  time.Time
	Error        string // the last one, of what it has not come past
}

// States returns where home's cursors are, by name. The events beyond are not counted.
func States(ctx context.Context, home interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]State, error) {
	rows, err := home.Query(ctx, cursorSQL.States)
	if err != nil {
		return nil, fmt.Errorf("read the cursors: %w", err)
	}
	states, err := pgx.CollectRows(rows, pgx.RowToStructByPos[State])
	if err != nil {
		return nil, fmt.Errorf("read the cursors: %w", err)
	}
	return states, nil
}
