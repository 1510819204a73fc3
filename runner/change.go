package runner

import (
	"context"
	"errors"
	"fmt"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// errHeld says that a transaction has held a row for longer than a statement of ours waits
// for it.
var errHeld = errors.New("somebody's transaction holds a row of it")

// change runs a statement that changes rows, in a transaction of its own, and returns how
// many; into takes a row that it returns.
//
// It waits a quarter of a second for a row that is locked, and then returns errHeld. A
// transaction that holds one, and is left open in a console, so holds up what it is about,
// and not all that shares this pool of connections.
func (c *Coordinator) change(ctx context.Context, into []any, sql string, args ...any) (rows int64, err error) {
	var batch pgx.Batch
	batch.Queue(pickSQL.Impatient)
	batch.Queue(sql, args...)
	results := c.primary.SendBatch(ctx, &batch)
	_, err = results.Exec()
	if into != nil {
		err = errors.Join(err, results.QueryRow().Scan(into...))
	} else {
		tag, execErr := results.Exec()
		rows, err = tag.RowsAffected(), errors.Join(err, execErr)
	}
	// What is deferred to the transaction's end may fail there.
	return rows, held(errors.Join(err, results.Close()))
}

// held is err, or errHeld where that is what it says.
func held(err error) error {
	if database.Code(err) == "55P03" {
		return fmt.Errorf("%w: %w", errHeld, err)
	}
	return err
}
