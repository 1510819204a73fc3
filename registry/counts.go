package registry

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"time"

	"casq/internal/database"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed counts.sql
var countsText string

// countsSQL has the statements of counts.sql.
var countsSQL = queries.Parse[struct{ Move, Forget string }]("registry/counts", countsText)

const (
	countsInterval = 5 * time.Second
	countsBatch    = 10_000
	mostReasonText = 200 // bytes
)

// moveCounts moves changes of the registry's counts into their sums, so that what reads
// casq.registry_summary has few rows to add. The counts are right without it, and any
// number of processes may do it at once.
func (p *Process) moveCounts(ctx context.Context) error {
	for {
		var moved int64
		err := pgx.BeginFunc(ctx, p.cfg.Pool, func(tx pgx.Tx) error {
			if err := tx.QueryRow(ctx, countsSQL.Move, countsBatch).Scan(&moved); err != nil || moved == 0 {
				return err
			}
			_, err := tx.Exec(ctx, countsSQL.Forget)
			return err
		})
		if err != nil {
			return fmt.Errorf("sum up the counts of the registry: %w", err)
		}
		if moved < countsBatch {
			return nil
		}
	}
}

// special is what tells one error from others that have the same cause.
var special = regexp.MustCompile(`"(\\.|[^"\\])*"|/[^\s:,"]+|\b[0-9a-f-]*\d[0-9a-f-]*\b`)

// failureReason is what an error has in common with others of the same cause: quoted text,
// paths, ids and long numbers are left out. Short ones stay: a status of HTTP, or of a
// process, is what was wrong.
func failureReason(text string) string {
	text = special.ReplaceAllStringFunc(text, func(part string) string {
		if len(part) < 4 && part[0] != '"' && part[0] != '/' {
			return part
		}
		return "..."
	})
	return database.Text(text, mostReasonText)
}
