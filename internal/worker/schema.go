package worker

import (
	"context"
	"time"

	"casq/internal/pause"
	"casq/migrations"
)

// schemaEvery is how soon a worker notices that home was migrated under it.
const schemaEvery = 5 * time.Second

// watchSchema calls stop once this program does not work on home's schema any more: what
// it would do fails, and somebody has to replace it. Until then it goes on, beside
// workers of a newer version, and says so. A database that does not answer says nothing
// of its schema.
func (w *worker) watchSchema(ctx context.Context, stop context.CancelCauseFunc) {
	known := migrations.Latest()
	for pause.For(ctx, schemaEvery) == nil {
		if err := migrations.Check(ctx, w.home); migrations.Unfit(err) {
			w.log.ErrorContext(ctx, "home was migrated, stopping", "err", err)
			stop(err)
			return
		}
		if status, err := migrations.Read(ctx, w.home); err == nil && status.Version != known {
			known = status.Version
			w.log.InfoContext(ctx, "home was migrated, going on beside newer workers", "version", known, "knows", status.Latest)
		}
	}
}
