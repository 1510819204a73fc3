package shards

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"casq/counter/internal/tally"
	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// addPage is how many counters a statement changes.
const addPage = 5000

// Apply applies a batch to the shards that stand at from, in one transaction, and
// returns the shards that do not. Errors: [eventlog.ErrLost].
func Apply(ctx context.Context, home *pgxpool.Pool, shards []int, from, to eventlog.Position, deltas map[int]tally.Sums) (elsewhere []int, err error) {
	err = pgx.BeginTxFunc(ctx, home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		elsewhere = elsewhere[:0]
		for _, shard := range shards { // in order, like everybody
			at, err := Lock(ctx, tx, shard)
			if err != nil {
				return err
			}
			if at != from {
				elsewhere = append(elsewhere, shard)
				continue
			}
			moved, err := Move(ctx, tx, shard, to)
			if err != nil {
				return err
			}
			if !moved {
				return fmt.Errorf("move shard %d to %s: %w", shard, to, eventlog.ErrLost)
			}
			if err := Add(ctx, tx, shard, deltas[shard]); err != nil {
				return err
			}
		}
		return nil
	})
	return elsewhere, err
}

// Add adds deltas to counters of a locked shard, in key order, in statements of
// bounded size. A counter is made for a delta of zero, too: see [tally.Collapse].
func Add(ctx context.Context, tx pgx.Tx, shard int, s tally.Sums) error {
	keys := slices.SortedFunc(maps.Keys(s), func(a, b tally.Key) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ScopeID, b.ScopeID))
	})
	for page := range slices.Chunk(keys, addPage) {
		kinds, scopes := make([]string, 0, len(page)), make([]string, 0, len(page))
		high, low, items := make([]int64, 0, len(page)), make([]int64, 0, len(page)), make([]int64, 0, len(page))
		for _, k := range page {
			d := s[k]
			kinds, scopes = append(kinds, k.Kind), append(scopes, k.ScopeID)
			high, low, items = append(high, d.High), append(low, d.Low), append(items, d.Items)
		}
		if _, err := tx.Exec(ctx, shardsSQL.Add, shard, kinds, scopes, high, low, items, int64(tally.Limb)); err != nil {
			return fmt.Errorf("add to %d counters: %w", len(kinds), err)
		}
	}
	return nil
}
