package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNotStarted says that no worker has begun to count in this database yet.
var ErrNotStarted = errors.New("counting has not begun in this database: a worker counts where tables are tracked; a second site counts nothing")

// Namespace returns what stays the same for as long as a database is there: its name
// in Redis, and the number of shards. Errors: [ErrNotStarted].
func Namespace(ctx context.Context, home *pgxpool.Pool) (namespace string, n int, err error) {
	if err := home.QueryRow(ctx, shardsSQL.Namespace).Scan(&namespace, &n); err != nil {
		return "", 0, fmt.Errorf("find the counters' shards: %w", err)
	}
	if n == 0 {
		return "", 0, ErrNotStarted
	}
	return namespace, n, nil
}

// Begin makes n shards, if there are none: at the log's beginning, or, when that has
// been pruned already, at its newest tick and without a claim to be complete.
func Begin(ctx context.Context, home *pgxpool.Pool, n int, log *slog.Logger) error {
	start, err := eventlog.NewReader(home, 0).Start(ctx)
	if err != nil {
		return err
	}
	if start.Tick != 0 {
		return StartOver(ctx, home, n, nil, "the log's beginning has been pruned", log)
	}
	return alone(ctx, home, func(tx pgx.Tx, present map[int]eventlog.Position) error {
		if len(present) > 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, shardsSQL.MakeShards, append([]any{n}, start.Values()...)...); err != nil {
			return fmt.Errorf("make the counters' shards: %w", err)
		}
		return nil
	})
}

// StartOver puts all shards (n, where there are none) at the newest tick, unless they
// are not as they were seen any more: the log does not go on from where they were.
// What they count is not exact then, until recounts that are asked for in the same
// transaction have ended.
func StartOver(ctx context.Context, home *pgxpool.Pool, n int, seen map[int]eventlog.Position, reason string, log *slog.Logger) error {
	return alone(ctx, home, func(tx pgx.Tx, present map[int]eventlog.Position) error {
		if !maps.Equal(present, seen) {
			return nil
		}
		log.WarnContext(ctx, "the log does not go on from where the counters are, counting anew", "reason", reason)
		if _, err := tx.Exec(ctx, shardsSQL.StartOver, cmp.Or(len(present), n)); err != nil {
			return fmt.Errorf("start counting over: %w", err)
		}
		if _, err := tx.Exec(ctx, shardsSQL.EndClaims); err != nil {
			return fmt.Errorf("start counting over: %w", err)
		}
		return nil
	})
}

// alone calls f in a transaction, with the shards as they are while nobody else
// begins or starts over.
func alone(ctx context.Context, home *pgxpool.Pool, f func(tx pgx.Tx, present map[int]eventlog.Position) error) error {
	return pgx.BeginTxFunc(ctx, home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		// In a statement of its own: the next one must see what the one that
		// had the lock has done.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('casq.counter_shards', 0))"); err != nil {
			return fmt.Errorf("wait for others that begin to count: %w", err)
		}
		present, err := Positions(ctx, tx)
		if err != nil {
			return err
		}
		return f(tx, present)
	})
}
