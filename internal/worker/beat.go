package worker

import (
	"context"
	"os"
	"time"

	"casq/internal/pause"
	"casq/migrations"

	"github.com/google/uuid"
)

const (
	// beatEvery is how often a worker tells of itself; casq.live_workers knows it.
	beatEvery = 10 * time.Second
	// beatAtMost bounds it where roles change.
	beatAtMost  = time.Second
	beatTimeout = 5 * time.Second
)

// beat keeps this worker's row of casq.workers until ctx is done, and then takes it away:
// what it knows is there for casq.health, and for everybody who asks home. A change of its
// roles is told at once.
func (w *worker) beat(ctx context.Context) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	id := uuid.New()
	defer w.pulse.end("beat")
	for ctx.Err() == nil {
		w.pulse.round("beat")
		if err := w.beatOnce(ctx, id, host); err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "cannot tell home of this worker, trying again", "err", err)
		}
		if pause.For(ctx, beatAtMost) != nil {
			break
		}
		w.awaitChange(ctx, min(beatEvery, w.cfg.ClaimTTL/3)-beatAtMost)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, _ = w.home.Exec(ctx, "DELETE FROM casq.workers WHERE id = $1", id) // else it goes by its age
}

// awaitChange returns when the roles have changed, or after so long.
func (w *worker) awaitChange(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-w.roles.changed:
	}
}

func (w *worker) beatOnce(ctx context.Context, id uuid.UUID, host string) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	roles, waiting := w.roles.told(time.Now())
	served := []string{}
	if q := w.served.Load(); q != nil {
		served = *q
	}
	s := w.sight.read(time.Now())
	_, err := w.home.Exec(ctx, workerSQL.Beat, id, host, os.Getpid(), w.cfg.Version, migrations.Latest(), roles, waiting, served,
		s.Timeline, s.Tick, s.Moved, s.Answered, s.Behind)
	return err
}
