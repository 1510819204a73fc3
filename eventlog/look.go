package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// look is the row of logSQL.Look. What a left join may miss is a pointer.
type look struct {
	newestLife    int32
	system        int64 // which wrote the log
	server        int64 // which answers; another one has a restored dump
	newestTick    int64
	oldestTick    int64
	myLifeID      *uuid.UUID
	nextBeganTick *int64

	mark     *uuid.UUID
	snapshot *string
	lowID    *int64

	targetLife     *int32
	targetLifeID   *uuid.UUID
	targetTick     *int64
	targetMark     *uuid.UUID
	targetSnapshot *string
	targetHighID   *int64
}

func (r *Reader) look(ctx context.Context, p Position) (look, error) {
	var l look
	err := l.scan(r.db.QueryRow(ctx, logSQL.Look, p.Life.Ordinal, p.Tick, p.ToTick))
	if errors.Is(err, pgx.ErrNoRows) {
		return l, fmt.Errorf("%w: it shows no ticks, the position is %s", ErrLate, p)
	}
	if err != nil {
		return l, fmt.Errorf("look for %s in the source: %w", p, err)
	}
	if err := l.judge(p); err != nil {
		return l, err
	}
	return l, nil
}

func (l *look) scan(row pgx.Row) error {
	return row.Scan(&l.newestLife, &l.system, &l.server, &l.newestTick, &l.oldestTick, &l.myLifeID, &l.nextBeganTick,
		&l.mark, &l.snapshot, &l.lowID,
		&l.targetLife, &l.targetLifeID, &l.targetTick, &l.targetMark, &l.targetSnapshot, &l.targetHighID)
}

// judge decides whether the source still shows the position. Only a position
// that is shown may be read on from.
func (l *look) judge(p Position) error {
	reached := max(p.Tick, p.ToTick)
	switch {
	case l.server != l.system:
		return fmt.Errorf("%w: its log was written by system %d, and it is system %d: when it was upgraded, wait for a tick; when a dump was restored there, run SELECT casq.adopt_log() and enqueue backfill at that site; then run `enqueue cursor reset registry` at this one", ErrForeign, l.system, l.server)
	case l.system != p.System:
		return fmt.Errorf("%w: the position is of system %d, the source is %d; point SOURCE_DATABASE_URL back, or run `enqueue cursor reset registry`", ErrForeign, p.System, l.system)
	case l.newestLife < p.Life.Ordinal:
		return fmt.Errorf("%w: it shows life %d, the position is %s", ErrLate, l.newestLife, p)
	case l.myLifeID == nil || *l.myLifeID != p.Life.ID:
		return fmt.Errorf("%w: life %d is another one there, the position is %s", ErrLost, p.Life.Ordinal, p)
	case l.nextBeganTick != nil && *l.nextBeganTick <= reached:
		return fmt.Errorf("%w: a newer life began at tick %d, the position is %s", ErrLost, *l.nextBeganTick, p)
	case l.oldestTick > p.Tick:
		return fmt.Errorf("%w: the oldest tick is %d, the position is %s", ErrPruned, l.oldestTick, p)
	case l.newestTick < reached:
		return fmt.Errorf("%w: its newest tick is %d, the position is %s", ErrLate, l.newestTick, p)
	case l.mark == nil || *l.mark != p.Mark:
		return fmt.Errorf("%w: tick %d has another mark there", ErrLost, p.Tick)
	case p.InStep() && (l.targetMark == nil || *l.targetMark != p.ToMark):
		return fmt.Errorf("%w: tick %d has another mark there", ErrLost, p.ToTick)
	}
	return nil
}
