package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/lease"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
)

// tick takes ticks while home is a database to take them on. A table may become
// tracked, and a standby may be promoted, while the worker runs.
func (w *worker) tick(ctx context.Context) {
	for ctx.Err() == nil {
		if may, err := w.mayTick(ctx); err == nil && may {
			w.take(ctx, "ticker")
			w.tickWhile(ctx)
		}
		w.giveUp(ctx, "ticker")
		_ = pause.For(ctx, 5*time.Second)
	}
}

func (w *worker) mayTick(ctx context.Context) (may bool, err error) {
	err = w.home.QueryRow(ctx, workerSQL.MayTick, w.cfg.SourceURL == w.cfg.HomeURL || w.runners != nil).Scan(&may)
	return may, err
}

// tickWhile takes ticks until ctx is done, or no ticks are to be taken on home. It
// asks again each minute, for the table that is not tracked any more.
func (w *worker) tickWhile(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	var pace atomic.Int64
	if w.redis != nil {
		group.Go(func() { w.contend(ctx, &pace) })
	}
	group.Go(func() {
		t := eventlog.Ticker{
			Pool: w.home, Logger: w.log, Told: func(err error) { w.roles.end("ticker", err) },
			Pace:   func() eventlog.Pace { return eventlog.Pace(pace.Load()) },
			Polled: func(pace eventlog.Pace) { w.cfg.Hook(tickPoints[pace]) },
		}
		t.Run(ctx)
	})
	group.Go(func() { w.watchTables(ctx) })
	for ctx.Err() == nil {
		_ = pause.For(ctx, time.Minute)
		if may, err := w.mayTick(ctx); err == nil && !may {
			return
		}
	}
}

// watchEvery is how soon it is found what no event trigger was there to refuse:
// a few index look-ups per tracked table.
const watchEvery = 10 * time.Second

// watchTables watches the tracked tables, and logs each finding once.
func (w *worker) watchTables(ctx context.Context) {
	told := make(map[string]bool)
	pause.Every(ctx, watchEvery, func() {
		found, err := w.watchOnce(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "cannot watch the tracked tables, trying again", "err", err)
		}
		for _, said := range found {
			if !told[said] {
				w.log.WarnContext(ctx, "a tracked table was altered", "found", said)
			}
			told[said] = true
		}
		w.cfg.Hook("tables:watched")
	})
}

func (w *worker) watchOnce(ctx context.Context) ([]string, error) {
	rows, err := w.home.Query(ctx, "SELECT casq.watch_tables()")
	if err != nil {
		return nil, fmt.Errorf("watch the tracked tables: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("watch the tracked tables: %w", err)
	}
	return found, nil
}

// tickPoints are where the hook is called after a poll.
var tickPoints = map[eventlog.Pace]string{
	eventlog.Often: "tick:often", eventlog.Seldom: "tick:seldom", eventlog.Standby: "tick:standby",
}

const (
	// tickLease is short: for so long after a kill no ticker polls often.
	tickLease = 3 * time.Second
	// tickWait is the longest pause of a ticker that was denied. After SIGTERM
	// another polls often within it.
	tickWait = 500 * time.Millisecond
)

// contend decides with the other workers' tickers by a lease which of them polls
// often: each poll costs the primary a little. The lease protects nothing. The one
// that had it when Redis went away goes on.
func (w *worker) contend(ctx context.Context, pace *atomic.Int64) {
	ttl := min(tickLease, cmp.Or(w.cfg.CursorLease, lease.DefaultTTL))
	leaser := lease.New(lease.Config{Client: w.redis, TTL: ttl})
	home := ""
	for ctx.Err() == nil {
		var err error
		if home == "" {
			home, err = database.Identity(ctx, w.home)
		}
		var held *lease.Lease
		if err == nil {
			// That it is renewed late, or lost, means nothing to an operator.
			held, err = leaser.Obtain(ctx, home+"/ticker", slog.New(slog.DiscardHandler))
		}
		switch {
		case err == nil:
			pace.Store(int64(eventlog.Often))
			pollOften(ctx, held)
		case errors.Is(err, lease.ErrHeld):
			pace.Store(int64(eventlog.Standby))
		default:
			pace.Store(int64(eventlog.Seldom))
		}
		_ = pause.For(ctx, tickWait/5+rand.N(tickWait*4/5))
	}
}

// pollOften returns when the lease is another's, or given back.
func pollOften(ctx context.Context, held *lease.Lease) {
	select {
	case <-ctx.Done():
	case <-held.Lost():
	}
	_ = held.Release(context.WithoutCancel(ctx)) // it ends by itself
}
