package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/database"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// staleEvery is how often the log that is followed is polled.
const staleEvery = 2 * time.Second

// watchLog warns of a log without ticks: nothing tells it from a log in which
// nothing happens, and nothing that happens in it is seen. It goes by this
// process's own clock, since those of the source's hosts may be apart.
func (w *worker) watchLog(ctx context.Context) {
	watch := &logWatch{moved: time.Now()}
	every(ctx, staleEvery, "watch the log", func() error {
		warning := watch.observe(w.newestTick(ctx))
		if (warning != "") != watch.warned {
			watch.warned = warning != ""
			if watch.warned {
				w.log.WarnContext(ctx, "the log does not move", "reason", warning)
			} else {
				w.log.InfoContext(ctx, "the log moves again")
			}
		}
		w.roles.warn("registry", warning)
		return nil
	}, w.log)
}

// newestTick is the nonce of the newest tick; zero: no tick was taken yet.
func (w *worker) newestTick(ctx context.Context) (nonce uuid.UUID, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = w.source.QueryRow(ctx, "SELECT nonce FROM casq.ticks ORDER BY id DESC LIMIT 1").Scan(&nonce)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil
	}
	return nonce, err
}

// logWatch is what was seen of the log's newest tick.
type logWatch struct {
	newest uuid.UUID
	moved  time.Time // when it was seen for the first time
	warned bool
}

// observe returns why the log is taken not to move; "" if it does.
func (l *logWatch) observe(newest uuid.UUID, err error) string {
	if err == nil && newest != l.newest {
		l.newest, l.moved = newest, time.Now()
	}
	age := time.Since(l.moved)
	switch {
	case age < eventlog.StaleAfter:
		return ""
	case err != nil:
		return fmt.Sprintf("the source has not answered for %v: %s", age.Round(time.Second), database.Explain(err))
	default:
		return fmt.Sprintf("the source has shown no new tick for %v: no worker takes ticks on its primary, or it is a standby that is not replicated to", age.Round(time.Second))
	}
}
