package counter

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed shards.sql
var shardsText string

// shardsSQL has the statements of shards.sql.
var shardsSQL = queries.Parse[struct {
	Shards, LockShard, LockShards, MoveShard, MakeShards, StartOver, EndClaims, Namespace,
	Sample, Read, Add string
}]("counter/shards", shardsText)

// flushedShards returns what Postgres has, by shard.
func (c *Counters) flushedShards(ctx context.Context) (map[int]eventlog.Position, error) {
	return readShards(ctx, c.cfg.Home)
}

func readShards(ctx context.Context, db eventlog.DB) (map[int]eventlog.Position, error) {
	rows, err := db.Query(ctx, shardsSQL.Shards)
	if err != nil {
		return nil, fmt.Errorf("read the shards: %w", err)
	}
	shards, err := scanShards(rows)
	if err != nil {
		return nil, fmt.Errorf("read the shards: %w", err)
	}
	return shards, nil
}

func scanShards(rows pgx.Rows) (map[int]eventlog.Position, error) {
	shards := make(map[int]eventlog.Position)
	var shard int
	var p eventlog.Position
	_, err := pgx.ForEachRow(rows, append([]any{&shard}, p.Fields()...), func() error {
		shards[shard] = p
		return nil
	})
	return shards, err
}

// lockShard locks a shard for the rest of tx and says what its counters stand
// at. Whoever changes counters of a shard has locked it.
func lockShard(ctx context.Context, tx pgx.Tx, shard int) (p eventlog.Position, err error) {
	err = tx.QueryRow(ctx, shardsSQL.LockShard, shard).Scan(p.Fields()...)
	if err != nil {
		return p, fmt.Errorf("lock shard %d: %w", shard, err)
	}
	return p, nil
}

// moveShard moves a locked shard on, if the ticks of the position are the log's:
// Redis may know ticks that home has lost in a failover of its own.
func moveShard(ctx context.Context, tx pgx.Tx, shard int, to eventlog.Position) (moved bool, err error) {
	tag, err := tx.Exec(ctx, shardsSQL.MoveShard, append([]any{shard}, to.Values()...)...)
	if err != nil {
		return false, fmt.Errorf("move shard %d: %w", shard, err)
	}
	return tag.RowsAffected() == 1, nil
}

// begin makes the shards, if there are none: at the log's beginning, or, when
// that has been pruned already, at its newest tick and without a claim to be
// complete.
func (c *Counters) begin(ctx context.Context) error {
	_, _, err := c.open(ctx)
	if !errors.Is(err, ErrNotStarted) {
		return err
	}
	start, err := eventlog.NewReader(c.cfg.Home, 0).Start(ctx)
	if err != nil {
		return err
	}
	if start.Tick != 0 {
		return c.startOver(ctx, nil, "the log's beginning has been pruned")
	}
	return c.alone(ctx, func(tx pgx.Tx, present map[int]eventlog.Position) error {
		if len(present) > 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, shardsSQL.MakeShards, append([]any{c.cfg.Shards}, start.Values()...)...); err != nil {
			return fmt.Errorf("make the counters' shards: %w", err)
		}
		return nil
	})
}

// alone calls f in a transaction, with the shards as they are while nobody else
// begins or starts over.
func (c *Counters) alone(ctx context.Context, f func(tx pgx.Tx, present map[int]eventlog.Position) error) error {
	return pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		// In a statement of its own: the next one must see what the one that
		// had the lock has done.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('casq.counter_shards', 0))"); err != nil {
			return fmt.Errorf("wait for others that begin to count: %w", err)
		}
		present, err := readShards(ctx, tx)
		if err != nil {
			return err
		}
		return f(tx, present)
	})
}

// startOver puts all shards at the newest tick, unless they are not as they were
// seen any more: the log does not go on from where they were. What they count
// is not exact then, until recounts that are asked for in the same transaction
// have ended.
func (c *Counters) startOver(ctx context.Context, seen map[int]eventlog.Position, reason string) error {
	return c.alone(ctx, func(tx pgx.Tx, present map[int]eventlog.Position) error {
		if !maps.Equal(present, seen) {
			return nil
		}
		c.log.WarnContext(ctx, "the log does not go on from where the counters are, counting anew", "reason", reason)
		if _, err := tx.Exec(ctx, shardsSQL.StartOver, cmp.Or(len(present), c.cfg.Shards)); err != nil {
			return fmt.Errorf("start counting over: %w", err)
		}
		rows, err := tx.Query(ctx, shardsSQL.EndClaims)
		if err != nil {
			return fmt.Errorf("start counting over: %w", err)
		}
		kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("start counting over: %w", err)
		}
		for _, kind := range kinds {
			if _, err := c.ask(ctx, tx, Request{Kind: kind, All: true}); err != nil {
				return err
			}
		}
		return nil
	})
}
