package runner

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// tagSets knows sets of tags by their ids. They never change.
//
// mu guards known.
type tagSets struct {
	db *pgxpool.Pool

	mu    sync.Mutex
	known map[int32][]string
}

// mostTagSets is how many are kept.
const mostTagSets = 100_000

// learn asks for those of the lanes that are not known.
func (t *tagSets) learn(ctx context.Context, lanes []lane) error {
	unknown := t.unknown(lanes)
	if len(unknown) == 0 {
		return nil
	}
	type set struct {
		ID   int32
		Tags []string
	}
	rows, err := t.db.Query(ctx, pickSQL.TagSets, unknown)
	if err != nil {
		return fmt.Errorf("ask for sets of tags: %w", err)
	}
	sets, err := pgx.CollectRows(rows, pgx.RowToStructByPos[set])
	if err != nil {
		return fmt.Errorf("ask for sets of tags: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || len(t.known) > mostTagSets {
		t.known = make(map[int32][]string)
	}
	for _, s := range sets {
		t.known[s.ID] = s.Tags
	}
	return nil
}

func (t *tagSets) unknown(lanes []lane) (ids []int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range lanes {
		if _, there := t.known[l.tagSet]; !there {
			ids = append(ids, l.tagSet)
		}
	}
	return ids
}

// get returns the tags of a set. One that nobody knows is nobody's: an event may name any.
func (t *tagSets) get(id int32) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tags, known := t.known[id]; known {
		return tags
	}
	return []string{"\x00"}
}
