package worker

import (
	"context"
	"sync"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/view"
)

// viewsPoll is how soon a view is followed that has become tracked.
const viewsPoll = 2 * time.Second

// views follows tracked views while home has any, and is not in recovery.
func (w *worker) views(ctx context.Context) {
	for ctx.Err() == nil {
		if may, err := w.mayView(ctx); may && err == nil {
			w.take(ctx, view.Cursor)
			w.viewWhile(ctx)
		}
		w.giveUp(ctx, view.Cursor)
		_ = pause.For(ctx, viewsPoll)
	}
}

func (w *worker) mayView(ctx context.Context) (may bool, err error) {
	err = w.home.QueryRow(ctx, workerSQL.MayView).Scan(&may)
	return may, err
}

// viewWhile follows them until ctx is done or no view is tracked any more. A log that does
// not continue stops this role and nothing else, until an operator has seen to it.
func (w *worker) viewWhile(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			err := view.Run(ctx, view.Config{
				Home: w.home, Redis: w.redis, Logger: w.log, Lease: w.cfg.CursorLease, Wait: w.cfg.CursorWait,
				CompareEvery: w.cfg.ReconcileInterval, Hook: w.cfg.Hook,
			})
			if err != nil {
				w.roles.set(view.Cursor, false, database.Explain(err))
				_ = pause.For(ctx, viewsPoll)
			}
		}
	})
	for ctx.Err() == nil {
		// A home that does not answer is no reason to stop.
		if may, err := w.mayView(ctx); err == nil && !may {
			break
		}
		_ = pause.For(ctx, viewsPoll)
	}
	cancel()
	group.Wait()
}
