package cursor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/lease"
	"casq/internal/process"

	"github.com/jackc/pgx/v5"
)

// cursorRow is what another cursor's row says.
type cursorRow struct {
	epoch, beat int64
	holder      string
	pid         *int32
	started     *time.Time
	alive       bool // the holder's session is there
	position    eventlog.Position
}

func (c *Cursor) readRow(ctx context.Context, db eventlog.DB) (cursorRow, error) {
	var s cursorRow
	err := db.QueryRow(ctx, cursorSQL.Row, c.cfg.Name).Scan(
		append([]any{&s.epoch, &s.beat, &s.holder, &s.pid, &s.started, &s.alive}, s.position.Fields()...)...)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("read cursor %s: %w", c.cfg.Name, err)
	}
	return s, err
}

// watch decides without Redis whether to take over, and from which epoch. A
// holder whose session has ended can do no harm and no good: at once. Else when
// the log did not advance for a lease's time, nor a beat, though there was
// something to apply.
func (c *Cursor) watch(ctx context.Context) (epoch int64, ok bool, err error) {
	began := time.Now()
	s, err := c.readRow(ctx, c.cfg.Home)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, true, nil // the very first start
	}
	if err != nil {
		return 0, false, err
	}
	if !s.alive {
		return s.epoch, true, nil
	}
	pending := c.pending(ctx, s.position)
	remaining := c.watcher.observe(began, time.Now(), s, pending)
	if remaining > 0 {
		c.denials.Tell(ctx, c.denied, s.holder, remaining)
		return 0, false, nil
	}
	return s.epoch, true, nil
}

// pending tells whether the source has anything beyond p. What cannot be read
// now is nothing that another cursor could apply.
func (c *Cursor) pending(ctx context.Context, p eventlog.Position) bool {
	batch, err := c.probe.Next(ctx, p)
	return len(batch.Events) > 0 || stops(err) || err == nil && p.InStep()
}

// watcher measures how long a holder stands still, though there is something to apply:
// a holder that has nothing to do is not expected to move.
type watcher struct {
	lease    time.Duration
	detector *process.Detector[struct{}, movement]
}

// movement is what changes in the row of a holder that is alive.
type movement struct{ epoch, beat int64 }

func newWatcher(lease time.Duration) watcher {
	return watcher{lease, process.NewDetector[struct{}, movement](lease)}
}

// observe takes a poll that began and ended then, and returns the time that the
// holder has left. What is pending now, and was not, came after the poll before.
func (w *watcher) observe(began, ended time.Time, s cursorRow, pending bool) time.Duration {
	expected := make(map[struct{}]movement)
	if pending {
		expected[struct{}{}] = movement{s.epoch, s.beat}
	}
	left := w.detector.Observe(began, ended, expected)
	if !pending {
		return w.lease
	}
	return left[struct{}{}]
}

// scoped is the lease's name in Redis, which several databases may use.
func (c *Cursor) scoped(ctx context.Context) (string, error) {
	if c.scope == "" {
		var err error
		if c.scope, err = database.Identity(ctx, c.cfg.Home); err != nil {
			return "", fmt.Errorf("home: %w", err)
		}
	}
	return c.scope + ":" + c.cfg.Name, nil
}

// obtain makes this cursor the active one, or returns nil when another is.
func (c *Cursor) obtain(ctx context.Context) (*holder, error) {
	name, err := c.scoped(ctx)
	if err != nil {
		return nil, err
	}
	held, err := c.leaser.Obtain(ctx, name, c.leaseLog)
	var denied *lease.HeldError
	switch {
	case err == nil:
		c.watcher = newWatcher(c.cfg.Lease)
		return c.hold(ctx, held, anyEpoch)
	case errors.As(err, &denied):
		c.denials.Tell(ctx, c.denied, denied.Holder, denied.ExpiresIn)
		return nil, nil
	case !errors.Is(err, lease.ErrNoRedis):
		c.denied.DebugContext(ctx, "redis does not answer, reading the holder's row", "err", err)
	}
	epoch, ok, err := c.watch(ctx)
	if err != nil || !ok {
		return nil, err
	}
	return c.hold(ctx, c.leaser.Assume(name, c.leaseLog), epoch)
}
