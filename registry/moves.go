package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"casq/eventlog"
	"casq/registry/internal/moves"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Base is a copy that is in place under another key, or was put aside there: see "Moves"
// in DESIGN.md.
type Base = moves.Base

// Kept returns the copies that moves keep, by kind. One that was put aside before, and is
// not among them, never will be again.
func Kept(ctx context.Context, home *pgxpool.Pool) (map[string][]Base, error) {
	return moves.Kept(ctx, home)
}

// moved carries what a batch tells of moves into casq.moves, and returns the removals that
// have waited for moves which are over. applied has what the batch has changed.
func moved(ctx context.Context, tx pgx.Tx, batch eventlog.Batch, intents []intent, applied []Job) ([]Job, error) {
	if !slices.ContainsFunc(intents, func(in intent) bool { return in.deletes > 0 }) &&
		!slices.ContainsFunc(batch.Events, func(e eventlog.Event) bool { return e.Moved != "" }) {
		return nil, nil // as in most batches
	}
	changed := make(map[moves.Resource]bool, len(applied))
	for _, j := range applied {
		changed[moves.Resource{Kind: j.Kind, Key: j.ResourceID}] = true
	}
	deletes := make(map[moves.Resource]int64)
	for _, in := range intents {
		if r := (moves.Resource{Kind: in.kind, Key: in.resourceID}); changed[r] {
			deletes[r] = in.deletes
		}
	}
	ended, err := moves.Carry(ctx, tx, batch, deletes)
	if err != nil {
		return nil, err
	}
	return removals(ctx, tx, ended)
}

// endMovesOf ends the moves to what runs have put in place, and returns the removals that
// have waited for that.
func endMovesOf(ctx context.Context, tx pgx.Tx, runs []completed) ([]Job, error) {
	var placed []moves.Resource
	for _, s := range runs {
		if s.published && s.claim.Moved {
			placed = append(placed, moves.Resource{Kind: s.claim.Kind, Key: s.claim.ResourceID})
		}
	}
	if len(placed) == 0 {
		return nil, nil
	}
	ended, err := moves.End(ctx, tx, placed, false)
	if err != nil {
		return nil, err
	}
	return removals(ctx, tx, ended)
}

// removals are the jobs of what no move keeps any more.
func removals(ctx context.Context, tx pgx.Tx, of []moves.Resource) ([]Job, error) {
	if len(of) == 0 {
		return nil, nil
	}
	rows, err := moves.Waiting(ctx, tx, of)
	if err != nil {
		return nil, err
	}
	jobs, err := CollectJobs(rows)
	if err != nil {
		return nil, fmt.Errorf("find removals that have waited: %w", err)
	}
	return jobs, nil
}

// Moves are swept so often, and so many at a time, and what was put aside for them.
const (
	movesInterval = 5 * time.Second
	asideInterval = 30 * time.Second
	movesPage     = 1000
)

// sweepMoves ends the moves that are over for another reason than the end of a run or an
// event: a selection, a comparison with the source, a replay.
func (p *Process) sweepMoves(ctx context.Context) error {
	for n := movesPage; n == movesPage; {
		err := pgx.BeginFunc(ctx, p.cfg.Pool, func(tx pgx.Tx) error {
			ended, err := moves.Sweep(ctx, tx, movesPage)
			if err != nil {
				return err
			}
			n = len(ended)
			jobs, err := removals(ctx, tx, ended)
			if err != nil {
				return err
			}
			return InsertJobs(ctx, tx, p.cfg.Queue, jobs)
		})
		if err != nil {
			return fmt.Errorf("sweep moves: %w", err)
		}
	}
	return nil
}
