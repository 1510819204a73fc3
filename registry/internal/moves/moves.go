// Package moves keeps casq.moves: which copies that are in place under an old key are to
// become those of the resources that have new ones, and are kept until then. See "Moves" in
// the registry's DESIGN.md.
package moves

import (
	"context"
	_ "embed"
	"fmt"
	"slices"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed moves.sql
var text string

// sql has the statements of moves.sql.
var sql = queries.Parse[struct{ Rows, Moves, Write, Drop, End, Sweep, Waiting, Kept string }]("registry/internal/moves/moves", text)

// Resource names a row of the registry.
type Resource struct{ Kind, Key string }

// Base is a copy that is in place under another key, or was put aside there.
type Base struct {
	Key         string // empty: there is none
	Incarnation int64
}

// Carry carries what a batch tells of moves into casq.moves, and returns what is kept by
// none of them any more. The batch was transposed, so its rows are locked; deletes has how
// often it has deleted each row that it has changed.
func Carry(ctx context.Context, tx pgx.Tx, batch eventlog.Batch, deletes map[Resource]int64) (ended []Resource, err error) {
	if slices.ContainsFunc(batch.Events, func(e eventlog.Event) bool { return e.Moved != "" }) {
		p, err := read(ctx, tx, batch, deletes)
		if err != nil {
			return nil, err
		}
		for i := range batch.Events {
			p.tell(&batch.Events[i])
		}
		if err := p.write(ctx, tx, batch); err != nil {
			return nil, err
		}
		if ended, err = p.drop(ctx, tx); err != nil {
			return nil, err
		}
	}
	var deleted []Resource
	for r, n := range deletes {
		if n > 0 {
			deleted = append(deleted, r)
		}
	}
	if len(deleted) == 0 {
		return ended, nil
	}
	slices.SortFunc(deleted, compare)
	over, err := End(ctx, tx, deleted, true)
	return append(ended, over...), err
}

// End ends the moves to resources that are over, and returns what they have kept;
// replaced says that the resources which had the keys before are gone.
func End(ctx context.Context, tx pgx.Tx, to []Resource, replaced bool) ([]Resource, error) {
	kinds, keys := split(to)
	rows, err := tx.Query(ctx, sql.End, kinds, keys, replaced)
	if err != nil {
		return nil, fmt.Errorf("end moves: %w", err)
	}
	return collectResources(rows)
}

// Waiting returns the removals of resources that are to be done, each with its version.
func Waiting(ctx context.Context, tx pgx.Tx, of []Resource) (pgx.Rows, error) {
	kinds, keys := split(of)
	rows, err := tx.Query(ctx, sql.Waiting, kinds, keys)
	if err != nil {
		return nil, fmt.Errorf("find removals that have waited: %w", err)
	}
	return rows, nil
}

func collectResources(rows pgx.Rows) ([]Resource, error) {
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Resource, err error) { return r, row.Scan(&r.Kind, &r.Key) })
	if err != nil {
		return nil, fmt.Errorf("end moves: %w", err)
	}
	return all, nil
}

func split(of []Resource) (kinds, keys []string) {
	for _, r := range of {
		kinds, keys = append(kinds, r.Kind), append(keys, r.Key)
	}
	return kinds, keys
}

// Sweep ends a page of the moves that are over.
func Sweep(ctx context.Context, tx pgx.Tx, page int) ([]Resource, error) {
	rows, err := tx.Query(ctx, sql.Sweep, page)
	if err != nil {
		return nil, fmt.Errorf("end moves: %w", err)
	}
	return collectResources(rows)
}

// Kept returns the copies that moves keep, by kind. One that was put aside before, and is
// not among them, never will be again.
func Kept(ctx context.Context, home *pgxpool.Pool) (map[string][]Base, error) {
	rows, err := home.Query(ctx, sql.Kept)
	if err != nil {
		return nil, fmt.Errorf("find what moves keep: %w", err)
	}
	kept := make(map[string][]Base)
	var kind string
	var base Base
	_, err = pgx.ForEachRow(rows, []any{&kind, &base.Key, &base.Incarnation}, func() error {
		kept[kind] = append(kept[kind], base)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find what moves keep: %w", err)
	}
	return kept, nil
}
