package counter

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// addPage is how many counters a statement changes.
const addPage = 5000

// write applies a batch to shards without Redis: the deltas go to Postgres at once.
func (f *feeder) write(ctx context.Context, shards []int, from, to eventlog.Position, deltas map[int]sums) (elsewhere []int, err error) {
	err = pgx.BeginTxFunc(ctx, f.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		elsewhere = elsewhere[:0]
		for _, shard := range shards { // in order, like everybody
			at, err := lockShard(ctx, tx, shard)
			if err != nil {
				return err
			}
			if at != from {
				elsewhere = append(elsewhere, shard)
				continue
			}
			moved, err := moveShard(ctx, tx, shard, to)
			if err != nil {
				return err
			}
			if !moved {
				return fmt.Errorf("move shard %d to %s: %w", shard, to, eventlog.ErrLost)
			}
			if err := add(ctx, tx, shard, deltas[shard]); err != nil {
				return err
			}
		}
		return nil
	})
	return elsewhere, err
}

// add adds deltas to counters of a locked shard, in key order, in statements of
// bounded size. A counter is made for a delta of zero, too: whatever has had an
// event has one, so that a recount which finds no rows for it reads what came after
// its snapshot.
func add(ctx context.Context, tx pgx.Tx, shard int, s sums) error {
	keys := slices.SortedFunc(maps.Keys(s), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ScopeID, b.ScopeID))
	})
	for page := range slices.Chunk(keys, addPage) {
		kinds, scopes := make([]string, 0, len(page)), make([]string, 0, len(page))
		high, low, items := make([]int64, 0, len(page)), make([]int64, 0, len(page)), make([]int64, 0, len(page))
		for _, k := range page {
			d := s[k]
			kinds, scopes = append(kinds, k.Kind), append(scopes, k.ScopeID)
			high, low, items = append(high, d.high), append(low, d.low), append(items, d.items)
		}
		if _, err := tx.Exec(ctx, shardsSQL.Add, shard, kinds, scopes, high, low, items, int64(limb)); err != nil {
			return fmt.Errorf("add to %d counters: %w", len(kinds), err)
		}
	}
	return nil
}
