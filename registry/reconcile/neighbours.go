package reconcile

import (
	"context"
	"fmt"
	"slices"

	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// ofNeighbours tells which of the keys have places that are, at the source, of resources of
// other kinds: those share the kind's tree, and their rows are still to come. A place in
// the folder of one that has no table may be that kind's as well, and is unsure.
func (w *walkOf) ofNeighbours(ctx context.Context, keys []string) (theirs, unsure map[string]bool, err error) {
	rows, err := w.cfg.Home.Query(ctx, walkSQL.Neighbours, w.kind.Name, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("find kinds that share the tree: %w", err)
	}
	type neighbour struct {
		Kind         string
		Keys, Theirs []string // of this kind, and that one's for the same places
	}
	neighbours, err := pgx.CollectRows(rows, pgx.RowToStructByPos[neighbour])
	if err != nil {
		return nil, nil, fmt.Errorf("find kinds that share the tree: %w", err)
	}
	theirs, unsure = make(map[string]bool), make(map[string]bool)
	for _, n := range neighbours {
		wanted, err := registry.ReadSelection(ctx, w.cfg.Home, n.Kind)
		if err != nil {
			return nil, nil, err
		}
		shown, err := resourcesMissing(ctx, w.cfg.Source, wanted, n.Theirs)
		if err != nil {
			return nil, nil, err
		}
		slices.Sort(shown.keys)
		for i, key := range n.Keys {
			_, missing := slices.BinarySearch(shown.keys, n.Theirs[i])
			theirs[key] = theirs[key] || shown.listed && !missing
			unsure[key] = unsure[key] || !shown.listed
		}
	}
	return theirs, unsure, nil
}
