package worker

import (
	"context"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/database"
)

// staleEvery is how often the log that is followed is polled.
const staleEvery = 2 * time.Second

// watchLog warns of a log without ticks: nothing tells it from a log in which
// nothing happens, and nothing that happens in it is seen. It goes by this
// process's own clock, since those of the source's hosts may be apart.
func (w *worker) watchLog(ctx context.Context) {
	warned := false
	every(ctx, staleEvery, "watch the log", func() error {
		seen, err := readSource(ctx, w.source)
		warning := w.sight.observe(seen, err, time.Now())
		if (warning != "") != warned {
			warned = warning != ""
			if warned {
				w.log.WarnContext(ctx, "the log does not move", "reason", warning)
			} else {
				w.log.InfoContext(ctx, "the log moves again")
			}
		}
		w.roles.warn("registry", warning)
		return nil
	}, w.log)
}

// standing returns why a log whose newest tick is so old is taken not to move; "" if it
// does. err is what the source has answered.
func standing(age time.Duration, err error) string {
	switch {
	case age < eventlog.StaleAfter:
		return ""
	case err != nil:
		return fmt.Sprintf("the source has not answered for %v: %s", age.Round(time.Second), database.Explain(err))
	default:
		return fmt.Sprintf("the source has shown no new tick for %v: no worker takes ticks on its primary, or it is a standby that is not replicated to", age.Round(time.Second))
	}
}
