package reconcile

import (
	"context"
	"fmt"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5/pgxpool"
)

// SelectionCount is what a selection would change.
type SelectionCount struct {
	Added   int64 // resources that would be copied
	Removed int64 // resources that would be removed
}

// CountSelection returns what [Select] would change, as resources are now. It walks
// through the source's table and through the registry, page by page; progress,
// which may be nil, is told how many resources were examined. Errors:
// [ErrSelection].
func CountSelection(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, want registry.Selection, progress func(examined int64)) (n SelectionCount, err error) {
	if want, err = registry.PrepareSelection(ctx, home, source, want); err != nil {
		return n, err
	}
	if progress == nil {
		progress = func(int64) {}
	}
	examined, err := n.countAdded(ctx, home, source, want, progress)
	if err == nil {
		err = n.countRemoved(ctx, home, source, want, func(rows int64) { progress(examined + rows) })
	}
	if err != nil {
		return n, fmt.Errorf("count what a selection of kind %s would change: %w", want.Kind, err)
	}
	return n, nil
}

func (n *SelectionCount) countAdded(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, want registry.Selection, progress func(int64)) (examined int64, err error) {
	var after *string
	for {
		p, err := resourcesPage(ctx, source, want, after, wholePage)
		if err != nil || p.last == nil {
			return examined, err
		}
		after = p.last
		var added int64
		if err := home.QueryRow(ctx, rowsSQL.Enter, want.Kind, p.usable().keys).Scan(&added); err != nil {
			return examined, fmt.Errorf("find rows: %w", err)
		}
		n.Added += added
		examined += int64(len(p.keys))
		progress(examined)
	}
}

func (n *SelectionCount) countRemoved(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, want registry.Selection, progress func(int64)) error {
	var examined int64
	for after := ""; ; {
		var keys []string
		if err := home.QueryRow(ctx, rowsSQL.LivePage, want.Kind, after, livePage).Scan(&keys); err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		if len(keys) == 0 {
			return nil
		}
		p, err := resourcesMissing(ctx, source, want, keys)
		if err != nil {
			return err
		}
		n.Removed += int64(len(p.keys))
		after, examined = keys[len(keys)-1], examined+int64(len(keys))
		progress(examined)
	}
}
