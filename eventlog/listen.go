package eventlog

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"casq/internal/pause"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Listen calls ticked after each tick that is taken at pool's database, from when it has
// connected until ctx is done, and once when it has connected. What it misses, while it is
// not connected or a proxy of connections keeps notices away, is found by polling: nothing
// depends on it. ticked must be quick.
//
// The connection is its own, and takes no place in the pool.
func Listen(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger, ticked func()) {
	for ctx.Err() == nil {
		if err := listen(ctx, pool, ticked); ctx.Err() == nil {
			logger.DebugContext(ctx, "cannot listen to ticks, polling for them meanwhile", "err", err)
		}
		_ = pause.For(ctx, 5*time.Second)
	}
}

func listen(ctx context.Context, pool *pgxpool.Pool, ticked func()) error {
	pooled, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to listen to ticks: %w", err)
	}
	conn := pooled.Hijack()
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, "LISTEN casq_tick"); err != nil {
		return fmt.Errorf("listen to ticks: %w", err)
	}
	for {
		ticked()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("listen to ticks: %w", err)
		}
	}
}
