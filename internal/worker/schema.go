package worker

import (
	"context"
	"time"

	"casq/internal/pause"
	"casq/migrations"
)

// schemaEvery is how soon a worker notices that home was migrated under it.
const schemaEvery = 5 * time.Second

const schemaTimeout = 5 * time.Second

// watchSchema calls stop once this program does not work on home's schema any more: what
// it would do fails, and somebody has to replace it. Until then it goes on, beside
// workers of a newer version, and says so. A database that does not answer says nothing
// of its schema.
func (w *worker) watchSchema(ctx context.Context, stop context.CancelCauseFunc) {
	known := migrations.Latest()
	defer w.pulse.end("schema")
	for pause.For(ctx, schemaEvery) == nil {
		w.pulse.round("schema")
		status, err := w.readSchema(ctx)
		if migrations.Unfit(err) {
			w.log.ErrorContext(ctx, "home was migrated, stopping", "err", err)
			stop(err)
			return
		}
		if err == nil && status.Version != known {
			known = status.Version
			w.log.InfoContext(ctx, "home was migrated, going on beside newer workers", "version", known, "knows", status.Latest)
		}
	}
}

// readSchema returns what home's schema is, and whether this program works on it.
func (w *worker) readSchema(ctx context.Context) (migrations.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	if err := migrations.Check(ctx, w.home); err != nil {
		return migrations.Status{}, err
	}
	return migrations.Read(ctx, w.home)
}
