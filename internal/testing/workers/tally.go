package workers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed tally.sql
var tallyText string

// tallySQL has the statements of tally.sql.
var tallySQL = queries.Parse[struct{ Tally, Turns, Record string }]("workers/tally", tallyText)

var (
	//go:embed tables.sql
	tablesSQL string
)

// pendingSQL tells whether an event is not recorded yet.
const pendingSQL = "SELECT EXISTS (SELECT FROM casq.events AS e WHERE NOT EXISTS (SELECT FROM workers.recorded AS r WHERE r.event_id = e.id))"

// Prepare makes the tables of the recorder, and one whose changes are events, in
// a migrated database. It takes a first tick, for which a cursor would wait.
func Prepare(ctx context.Context, db *pgxpool.Pool) error {
	if _, err := db.Exec(ctx, tablesSQL); err != nil {
		return fmt.Errorf("make the recorder's tables: %w", err)
	}
	_, err := eventlog.Tick(ctx, db, true)
	return err
}

// Tally compares the events of the log with what was recorded.
type Tally struct {
	Events   int64 // that were committed
	Recorded int64 // rows
	Missing  int64 // events without a row
	Again    int64 // events with more than one
	Unknown  int64 // rows without an event: rolled back, and applied all the same
	Backward int64 // rows of an epoch that was over
	Turns    []Turn
}

// Turn is what one process applied between taking over and being replaced.
type Turn struct {
	Worker string
	Epoch  int64
	Events int64
}

// Err says what is wrong, nil when each event was applied exactly once.
func (t Tally) Err() error {
	var errs []error
	for _, wrong := range []struct {
		n    int64
		text string
	}{
		{t.Missing, "events were committed and not applied"},
		{t.Again, "events were applied more than once"},
		{t.Unknown, "events were applied and not committed"},
		{t.Backward, "events were applied by a process that had been replaced"},
	} {
		if wrong.n > 0 {
			errs = append(errs, fmt.Errorf("%d %s", wrong.n, wrong.text))
		}
	}
	if t.Events == 0 {
		errs = append(errs, errors.New("no event was committed"))
	}
	return errors.Join(errs...)
}

// count is for when nothing is written any more.
func count(ctx context.Context, db *pgxpool.Pool) (t Tally, err error) {
	err = db.QueryRow(ctx, tallySQL.Tally).Scan(&t.Events, &t.Recorded, &t.Missing, &t.Again, &t.Unknown, &t.Backward)
	if err != nil {
		return t, fmt.Errorf("compare the log with what was recorded: %w", err)
	}
	rows, err := db.Query(ctx, tallySQL.Turns)
	if err == nil {
		t.Turns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Turn])
	}
	if err != nil {
		return t, fmt.Errorf("count what each worker recorded: %w", err)
	}
	return t, nil
}
