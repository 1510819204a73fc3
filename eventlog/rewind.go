package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Rewind tells where a reader goes on whose position the source does not
// continue, and what it has to make good for.
type Rewind struct {
	// Cause is [ErrLost], [ErrPruned], [ErrForeign], or nil when somebody asked
	// for it. [ErrPruned] without From is a first start on an old log.
	Cause error
	From  Position // what was read; zero for a first start
	To    Position // where to go on
	// Newest is the newest tick of the source. It is of the source's newest
	// timeline: a host that shows it has the history that To belongs to.
	Newest Position
	// Everything says that what lies between From and To will not be read, or
	// is not known: all resources have to be compared. Otherwise only those that
	// came with ticks beyond To.
	Everything bool
	// Incomparable says that the source's timelines do not continue those of From:
	// what is remembered of timelines from To's on says nothing about what is
	// newer.
	Incomparable bool
}

// Rewind finds the place from which to go on after [Reader.Next] has said
// [ErrLost] or [ErrPruned] at p: the newest tick that the source shares with
// what was read, or else the newest of all.
//
// Errors: [ErrLate] when the source, or the host that answers this time, has
// not lost p at all, so that one merely has to wait; [ErrForeign]; anything
// else is the database's.
func (r *Reader) Rewind(ctx context.Context, p Position) (Rewind, error) {
	l, w, err := r.probeBack(ctx, p)
	if err != nil {
		return w, fmt.Errorf("find what the source shares with %s: %w", p, err)
	}
	switch cause := l.check(p); {
	case cause == nil:
		return w, fmt.Errorf("%w: this time it shows %s", ErrLate, p)
	case errors.Is(cause, ErrPruned):
		w.Cause, w.To, w.Everything = cause, w.Newest, true
	case !errors.Is(cause, ErrLost):
		return w, cause
	// Nothing is shared. (Its own tick with another nonce: the server was set
	// back without a new timeline, and nobody knows how far.)
	case w.To == Position{}, w.To.Tick == p.Tick && w.To.Nonce != p.Nonce:
		w.Cause, w.To, w.Everything, w.Incomparable = cause, w.Newest, true, true
	default:
		w.Cause = cause
	}
	return w, nil
}

// probeBack asks one host for both: a probe of its own might be answered by
// another one, which is late.
func (r *Reader) probeBack(ctx context.Context, p Position) (l probe, w Rewind, err error) {
	var batch pgx.Batch
	batch.Queue(logSQL.Probe, p.Timeline.Ordinal, p.Tick, p.ToTick)
	batch.Queue(logSQL.Rewind, p.Timeline.Ordinal, p.Timeline.ID, p.Tick)
	results := r.db.SendBatch(ctx, &batch)
	defer func() { err = errors.Join(err, results.Close()) }()
	if err := l.scan(results.QueryRow()); err != nil {
		return l, w, err
	}
	err = w.scan(results.QueryRow())
	w.From = p
	return l, w, err
}

func (w *Rewind) scan(row pgx.Row) error {
	var timeline *int32
	var timelineID, nonce *uuid.UUID
	var tick *int64
	n := &w.Newest
	err := row.Scan(&n.System, &n.Timeline.Ordinal, &n.Timeline.ID, &n.Tick, &n.Nonce, &timeline, &timelineID, &tick, &nonce)
	if err == nil && tick != nil {
		w.To = Position{System: n.System, Timeline: Timeline{*timeline, *timelineID}, Tick: *tick, Nonce: *nonce}
	}
	return err
}

// StartOver tells how to go on from the source's newest tick, whatever was read
// before: after p, or for the first time when p is nil.
//
// Errors: [ErrNoTicks]; anything else is the database's.
func (r *Reader) StartOver(ctx context.Context, p *Position) (Rewind, error) {
	if p == nil {
		w := Rewind{Cause: ErrPruned}
		err := w.scan(r.db.QueryRow(ctx, logSQL.Rewind, 0, uuid.Nil, 0))
		return w.over(err)
	}
	l, w, err := r.probeBack(ctx, *p)
	if err == nil {
		w.Cause = l.check(*p)
		w.Incomparable = w.Cause != nil && !errors.Is(w.Cause, ErrPruned)
	}
	return w.over(err)
}

// over makes w one that goes on from the newest tick.
func (w Rewind) over(err error) (Rewind, error) {
	w.To, w.Everything = w.Newest, true
	if errors.Is(err, pgx.ErrNoRows) {
		return w, ErrNoTicks
	}
	if err != nil {
		return w, fmt.Errorf("find the log's newest tick: %w", err)
	}
	return w, nil
}
