package refreshkey

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

var (
	//go:embed freeze.lua
	freezeLua string
	//go:embed unlock.lua
	unlockLua string

	freezeScript = redis.NewScript(freezeLua)
	unlockScript = redis.NewScript(unlockLua)
)

// Flush adds what is buffered to the column. While another flush of the project
// has its lock, it does nothing.
func (c *Counters) Flush(ctx context.Context, project int64) error {
	holder := uuid.NewString()
	locked, err := c.cfg.Redis.SetNX(ctx, c.lockKey(project), holder, c.cfg.Lock).Result()
	if err != nil {
		return fmt.Errorf("lock project %d: %w", project, err)
	}
	if !locked {
		return nil
	}
	if err := c.flush(ctx, project); err != nil {
		return fmt.Errorf("flush project %d: %w", project, err)
	}
	if err := unlockScript.Run(ctx, c.cfg.Redis, []string{c.lockKey(project)}, holder).Err(); err != nil {
		return fmt.Errorf("unlock project %d: %w", project, err)
	}
	return nil
}

func (c *Counters) flush(ctx context.Context, project int64) error {
	amount, err := freezeScript.Run(ctx, c.cfg.Redis, []string{c.key(project), c.flushedKey(project)}).Int64()
	if err != nil || amount == 0 {
		return err
	}
	c.cfg.Hook("flush:frozen")
	err = pgx.BeginFunc(ctx, c.cfg.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, refreshSQL.Add, project, amount); err != nil {
			return err
		}
		// In the transaction, so that an error here takes the sum back.
		if err := c.cfg.Redis.Del(ctx, c.flushedKey(project)).Err(); err != nil {
			return err
		}
		c.cfg.Hook("flush:dropped")
		return nil
	})
	if err == nil {
		c.cfg.Hook("flush:committed")
	}
	return err
}
