package worker

import (
	"context"
	_ "embed"
	"time"

	"casq/eventlog"
)

//go:embed may_tick.sql
var mayTickSQL string

// tick takes ticks while home is one to take them on. A table may become
// tracked, and a standby may be promoted, while the worker runs.
func (w *worker) tick(ctx context.Context) {
	for ctx.Err() == nil {
		var may bool
		err := w.home.QueryRow(ctx, mayTickSQL, w.cfg.SourceURL == w.cfg.HomeURL).Scan(&may)
		if err == nil && may {
			w.roles.set("ticker", true, "")
			// Looks again now and then, for the table that is not tracked
			// any more.
			turn, cancel := context.WithTimeout(ctx, time.Minute)
			(&eventlog.Ticker{Pool: w.home, Logger: w.log}).Run(turn)
			cancel()
			continue
		}
		w.roles.drop("ticker")
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}
