package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// probe is the row of logSQL.Probe. What a left join may miss is a pointer.
type probe struct {
	newestTimeline int32
	system         int64 // which wrote the log
	server         int64 // which answers; another one has a restored dump
	newestTick     int64
	oldestTick     int64
	myTimelineID   *uuid.UUID
	nextBeganTick  *int64

	nonce    *uuid.UUID
	snapshot *string
	lowID    *int64

	targetTimeline   *int32
	targetTimelineID *uuid.UUID
	targetTick       *int64
	targetNonce      *uuid.UUID
	targetSnapshot   *string
	targetHighID     *int64
}

func (r *Reader) probe(ctx context.Context, p Position) (probe, error) {
	var l probe
	err := l.scan(r.db.QueryRow(ctx, logSQL.Probe, p.Timeline.Ordinal, p.Tick, p.ToTick))
	if errors.Is(err, pgx.ErrNoRows) {
		return l, fmt.Errorf("%w: it shows no ticks, the position is %s", ErrLate, p)
	}
	if err != nil {
		return l, fmt.Errorf("find %s in the source: %w", p, err)
	}
	if err := l.check(p); err != nil {
		return l, err
	}
	return l, nil
}

func (l *probe) scan(row pgx.Row) error {
	return row.Scan(&l.newestTimeline, &l.system, &l.server, &l.newestTick, &l.oldestTick, &l.myTimelineID, &l.nextBeganTick,
		&l.nonce, &l.snapshot, &l.lowID,
		&l.targetTimeline, &l.targetTimelineID, &l.targetTick, &l.targetNonce, &l.targetSnapshot, &l.targetHighID)
}

// check tells whether the source still shows the position. Only a position
// that is shown may be read on from.
func (l *probe) check(p Position) error {
	reached := max(p.Tick, p.ToTick)
	switch {
	case l.server != l.system:
		return fmt.Errorf("%w: its log was written by system %d, and it is system %d: when it was upgraded, wait for a tick; when a dump was restored there, run SELECT casq.adopt_log() and enqueue backfill at that site; then run `enqueue cursor reset registry` at this one", ErrForeign, l.system, l.server)
	case l.system != p.System:
		return fmt.Errorf("%w: the position is of system %d, the source is %d; have this site follow that one again, or run `enqueue cursor reset registry`", ErrForeign, p.System, l.system)
	case l.newestTimeline < p.Timeline.Ordinal:
		return fmt.Errorf("%w: it shows timeline %d, the position is %s", ErrLate, l.newestTimeline, p)
	case l.myTimelineID == nil || *l.myTimelineID != p.Timeline.ID:
		return fmt.Errorf("%w: timeline %d is another one there, the position is %s", ErrLost, p.Timeline.Ordinal, p)
	case l.nextBeganTick != nil && *l.nextBeganTick <= reached:
		return fmt.Errorf("%w: a newer timeline began at tick %d, the position is %s", ErrLost, *l.nextBeganTick, p)
	case l.oldestTick > p.Tick:
		return fmt.Errorf("%w: the oldest tick is %d, the position is %s", ErrPruned, l.oldestTick, p)
	case l.newestTick < reached:
		return fmt.Errorf("%w: its newest tick is %d, the position is %s", ErrLate, l.newestTick, p)
	case l.nonce == nil || *l.nonce != p.Nonce:
		return fmt.Errorf("%w: tick %d has another nonce there", ErrLost, p.Tick)
	case p.InStep() && (l.targetNonce == nil || *l.targetNonce != p.ToNonce):
		return fmt.Errorf("%w: tick %d has another nonce there", ErrLost, p.ToTick)
	}
	return nil
}
