// Package shards keeps the counters in Postgres: each shard stands at a position of the
// log, which moves only in the transaction that changes the shard's counters.
package shards

import (
	"context"
	_ "embed"
	"fmt"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed shards.sql
var shardsText string

// shardsSQL has the statements of shards.sql.
var shardsSQL = queries.Parse[struct {
	Shards, LockShard, LockShards, MoveShard, MakeShards, StartOver, EndClaims, Namespace, Add string
}]("counter/shards", shardsText)

// Positions returns what Postgres has, by shard.
func Positions(ctx context.Context, db eventlog.DB) (map[int]eventlog.Position, error) {
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

// Lock locks a shard for the rest of tx and says what its counters stand
// at. Whoever changes counters of a shard has locked it.
func Lock(ctx context.Context, tx pgx.Tx, shard int) (p eventlog.Position, err error) {
	err = tx.QueryRow(ctx, shardsSQL.LockShard, shard).Scan(p.Fields()...)
	if err != nil {
		return p, fmt.Errorf("lock shard %d: %w", shard, err)
	}
	return p, nil
}

// LockAll is [Lock] for several shards, in their order.
func LockAll(ctx context.Context, tx pgx.Tx, shards []int) (map[int]eventlog.Position, error) {
	rows, err := tx.Query(ctx, shardsSQL.LockShards, shards)
	if err != nil {
		return nil, fmt.Errorf("lock shards %v: %w", shards, err)
	}
	positions, err := scanShards(rows)
	if err != nil {
		return nil, fmt.Errorf("lock shards %v: %w", shards, err)
	}
	return positions, nil
}

// Move moves a locked shard on, if the ticks of the position are the log's:
// Redis may know ticks that home has lost in a failover of its own.
func Move(ctx context.Context, tx pgx.Tx, shard int, to eventlog.Position) (moved bool, err error) {
	tag, err := tx.Exec(ctx, shardsSQL.MoveShard, append([]any{shard}, to.Values()...)...)
	if err != nil {
		return false, fmt.Errorf("move shard %d: %w", shard, err)
	}
	return tag.RowsAffected() == 1, nil
}
