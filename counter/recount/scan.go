package recount

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casq/internal/pause"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errHangs says that a host answers no session at all.
var errHangs = errors.New("host does not answer")

// standbyTries is how often a scan may be cut off on standbys (a standby cancels
// what holds up its replay for too long) before the primary does it.
const standbyTries = 3

// Scan sums up what the scan's recounts ask for, in one snapshot of one host, and
// queues the swap. process is this process's row in casq.processes: while it is
// there, nobody else takes the scan over. Errors: [ErrBusy], [ErrSuperseded].
func (r *Recounts) Scan(ctx context.Context, id, job int64, process uuid.UUID) error {
	s, err := r.startScan(ctx, id, job, process)
	if err != nil {
		return err
	}
	err = s.anywhere(ctx)
	if err == nil || errors.Is(err, ErrSuperseded) {
		return err
	}
	return errors.Join(err, s.giveUp(ctx, err))
}

// anywhere scans on the first host that can.
func (s *scan) anywhere(ctx context.Context) (err error) {
	// A tick close to the snapshot keeps the list of transactions beyond it short.
	if _, err := s.r.cfg.Home.Exec(ctx, "SELECT casq.tick(true)"); err != nil {
		return fmt.Errorf("take a tick: %w", err)
	}
	s.r.cfg.Hook("scan:started")
	for _, host := range s.hosts() {
		err = s.run(ctx, host)
		switch {
		case err == nil, errors.Is(err, ErrSuperseded), ctx.Err() != nil:
			return err
		case errors.Is(err, errSlow):
			return s.divide(ctx)
		case errors.Is(err, errReordered):
			return s.restart(ctx)
		case errors.Is(err, errGone):
			return errors.Join(ErrSuperseded, s.r.Fail(ctx, s.id, err))
		case errors.Is(err, errLocked): // may take hours, and the row says it
			s.r.log.DebugContext(ctx, "cannot count on this host yet", "scan", s.id, "host", hostName(host), "err", err)
		default:
			s.r.log.WarnContext(ctx, "cannot count on this host", "scan", s.id, "host", hostName(host), "err", err)
		}
	}
	if errors.Is(err, errLocked) {
		return fmt.Errorf("scan %d: %w: %w", s.id, ErrBusy, err)
	}
	return fmt.Errorf("scan %d: %w", s.id, err)
}

// hosts are where to try, in order.
func (s *scan) hosts() []*pgxpool.Pool {
	if s.tries > standbyTries {
		return []*pgxpool.Pool{s.r.cfg.Home}
	}
	return append(append([]*pgxpool.Pool{}, s.r.cfg.Standbys...), s.r.cfg.Home)
}

// run scans on one host, and ends the scan. It ends it when the snapshot is closed:
// what was read is right whatever becomes of the transaction that has read it,
// while one that waits for home is ended by its own host.
func (s *scan) run(ctx context.Context, host *pgxpool.Pool) error {
	var v *seen
	err := s.whileItAnswers(ctx, host, func(ctx context.Context) (err error) {
		for deadline := time.Now().Add(repeatPatience); ; _ = pause.For(ctx, s.r.cfg.Interval) {
			v, err = s.view(ctx, host)
			soon := errors.Is(err, errLate) || errors.Is(err, errMoved)
			if !soon || time.Now().After(deadline) || ctx.Err() != nil {
				return err
			}
		}
	})
	if v == nil {
		return err
	}
	return s.end(ctx, *v)
}

// whileItAnswers calls f with a context that is done when the host hangs. The host is
// asked over a connection of its own. Any answer will do, also that it refuses
// more connections: a query that runs may take its time.
func (s *scan) whileItAnswers(ctx context.Context, host *pgxpool.Pool, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		for _ = pause.For(ctx, s.r.hostPatience/2); ctx.Err() == nil; _ = pause.For(ctx, s.r.hostPatience/2) {
			if !s.answers(ctx, host) {
				cancel(errHangs)
			}
		}
	})
	defer group.Wait()
	defer cancel(nil)
	err := f(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errHangs) {
		return fmt.Errorf("%w for %s: %w", errHangs, s.r.hostPatience, err)
	}
	return err
}

func (s *scan) answers(ctx context.Context, host *pgxpool.Pool) bool {
	ctx, cancel := context.WithTimeout(ctx, s.r.hostPatience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, host.Config().ConnConfig)
	if err != nil {
		return !errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	_, err = conn.Exec(ctx, "SELECT")
	_ = conn.Close(ctx)
	return err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded)
}
