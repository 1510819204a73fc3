package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// DefaultTickInterval is how often a [Ticker] looks, unless said otherwise. A
// look that finds nothing writes nothing and costs about 0.2 ms.
const DefaultTickInterval = 50 * time.Millisecond

// Tick takes a tick when there is something to show, and returns its id; 0
// when there was nothing to do or another session is at it. With force it
// takes one in any case, except in the latter. db is the primary.
func Tick(ctx context.Context, db DB, force bool) (int64, error) {
	var id *int64
	if err := db.QueryRow(ctx, "SELECT casq.tick(force => $1)", force).Scan(&id); err != nil {
		return 0, fmt.Errorf("take a tick: %w", err)
	}
	if id == nil {
		return 0, nil
	}
	return *id, nil
}

// Ticker takes ticks on the primary. Any number may run at once: a tick is
// taken under a lock, and one ticker's look is as good as another's.
type Ticker struct {
	Pool     *pgxpool.Pool
	Logger   *slog.Logger
	Interval time.Duration // between two looks; defaults to [DefaultTickInterval]
}

// Run looks until ctx is done. Errors are logged and tried again each second:
// a primary that restarts is no reason to stop ticking.
func (t *Ticker) Run(ctx context.Context) {
	interval := cmp.Or(t.Interval, DefaultTickInterval)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := interval
		if _, err := Tick(ctx, t.Pool, false); err != nil && ctx.Err() == nil {
			t.Logger.ErrorContext(ctx, "cannot take a tick, trying again", "err", err)
			wait = time.Second
		}
		timer.Reset(wait)
	}
}
