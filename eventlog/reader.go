package eventlog

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed log.sql
var logText string

// logSQL has the statements of log.sql.
var logSQL = queries.Parse[struct{ Start, Page, Append, Touch, Probe, Rewind string }]("eventlog/log", logText)

// sourcePage is logSQL.Page over what has changed in the sources of tracked views: of
// an event it has the source as resource, and what was noted of its rows as payload.
var sourcePage = strings.ReplaceAll(logSQL.Page, "casq.events", `(
	SELECT xid, id, 'source' AS kind, source::text AS resource_id, 'updated' AS op, false AS bulk, NULL::text AS scope_id, '' AS moved,
	       0 AS size_delta, 0 AS item_delta, rows AS payload, noted_at AS occurred_at
	FROM casq.source_changes)`)

// DB is what reading needs of a pool, a connection or a transaction.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

const (
	// DefaultPageSize is the number of events of a batch, unless said otherwise.
	DefaultPageSize = 5000

	// DefaultPageBytes is within how many bytes of keys and payloads the events of a
	// batch begin, unless said otherwise: so a batch has as many bytes at most, and
	// one event. A link of 7 Mbit/s takes them across in the time for which a session
	// may be idle.
	DefaultPageBytes = 4 << 20
)

// planSettings are for the transaction of one page, which must not depend on
// what the planner knows of a table that grows by a million rows between two
// runs of ANALYZE: see logSQL.Page. Compiling a plan took up to a second.
const planSettings = `SELECT set_config('enable_bitmapscan', 'off', true),
	set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`

// Reader reads the log from tick to tick. It keeps nothing: the position is
// the caller's to store, in the transaction that has the events' effects.
type Reader struct {
	db       DB
	pageSize int
	kind     *string
	pageSQL  string
}

// NewReader returns a reader of the log in db, which may be a standby. A
// pageSize of 0 means [DefaultPageSize].
func NewReader(db DB, pageSize int) *Reader {
	return &Reader{db: db, pageSize: cmp.Or(pageSize, DefaultPageSize), pageSQL: logSQL.Page}
}

// NewSourceReader returns a reader of what has changed in the sources of tracked views
// (casq.track_view), instead of events. Positions are those of any reader. Of an event only
// ResourceID, which is the source's number, Payload and OccurredAt say anything. Payload is
// an array of what was noted of the rows, old and new; nil: any row may have changed.
func NewSourceReader(db DB, pageSize int) *Reader {
	r := NewReader(db, pageSize)
	r.pageSQL = sourcePage
	return r
}

// NewReaderOf returns a reader that returns events of one kind only. Positions are
// those of any reader.
func NewReaderOf(db DB, kind string, pageSize int) *Reader {
	r := NewReader(db, pageSize)
	r.kind = &kind
	return r
}

// Batch is what a reader found beyond a position.
type Batch struct {
	Events   []Event
	Timeline Timeline        // the timeline of Tick
	Tick     int64           // the tick that delivers the events
	Kinds    map[string]Kind // all kinds of the source, as they are now
	Next     Position        // where to go on once the events are applied
}

// Start returns the position from which the whole log is read. It returns
// [ErrNoTicks] when there is none yet, and [ErrPruned] when the log's beginning
// is not there any more: see [Reader.StartOver].
func (r *Reader) Start(ctx context.Context) (Position, error) {
	var p Position
	err := r.db.QueryRow(ctx, logSQL.Start).Scan(&p.System, &p.Timeline.Ordinal, &p.Timeline.ID, &p.Tick, &p.Nonce)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrNoTicks
	}
	if err != nil {
		return p, fmt.Errorf("find the log's oldest tick: %w", err)
	}
	if p.Tick != 0 {
		return p, fmt.Errorf("%w: the log begins at tick %d", ErrPruned, p.Tick)
	}
	return p, nil
}

// Next returns the events beyond p, in order, at most a page of them. When
// there is nothing new, Next of the batch equals p.
//
// Errors: as [Reader.NextWithin].
func (r *Reader) Next(ctx context.Context, p Position) (Batch, error) {
	return r.NextWithin(ctx, p, r.pageSize, DefaultPageBytes)
}

// NextWithin is Next with a page of its own size: at most so many events, which
// begin within so many bytes of keys and payloads; at least one.
//
// Errors: [ErrLate] (wait), [ErrLost], [ErrForeign], [ErrPruned]; anything
// else is the database's.
func (r *Reader) NextWithin(ctx context.Context, p Position, size int, bytes int64) (Batch, error) {
	l, err := r.probe(ctx, p)
	if err != nil {
		return Batch{}, err
	}
	if *l.targetTick == p.Tick {
		return Batch{Timeline: p.Timeline, Tick: p.Tick, Next: p}, nil
	}
	batch := Batch{Timeline: Timeline{*l.targetTimeline, *l.targetTimelineID}, Tick: *l.targetTick}
	var full bool
	full, err = r.page(ctx, p, &l, size, bytes, &batch)
	if err != nil {
		return Batch{}, fmt.Errorf("read events from %s to tick %d: %w", p, batch.Tick, err)
	}
	if !full {
		batch.Next = Position{System: p.System, Timeline: batch.Timeline, Tick: batch.Tick, Nonce: *l.targetNonce}
		return batch, nil
	}
	batch.Next = p
	batch.Next.Timeline = batch.Timeline
	batch.Next.ToTick, batch.Next.ToNonce = batch.Tick, *l.targetNonce
	batch.Next.Page = batch.Events[len(batch.Events)-1].ID
	return batch, nil
}

// page reads a page of the step from p to the target of l into a batch, and tells
// whether there may be more of it. The statement reads both ticks again: it may be
// answered by another host than the probe. The kinds come along: one that was dropped
// since the page before is not to be made known again.
func (r *Reader) page(ctx context.Context, p Position, l *probe, size int, bytes int64, into *Batch) (full bool, err error) {
	var batch pgx.Batch
	batch.Queue(planSettings)
	batch.Queue(r.pageSQL, *l.snapshot, *l.targetSnapshot, p.Page, size, *l.lowID, *l.targetHighID,
		p.Tick, p.Nonce, *l.targetTick, *l.targetNonce, bytes, r.kind)
	batch.Queue(kindsSQL)
	results := r.db.SendBatch(ctx, &batch)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return false, err
	}
	rows, err := results.Query()
	if err != nil {
		return false, err
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
		var ended bool
		err = row.Scan(&e.ID, &e.Kind, &e.ResourceID, &e.Op, &e.Bulk, &e.ScopeID, &e.Moved, &e.SizeDelta, &e.ItemDelta, &e.Payload, &e.OccurredAt, &ended)
		full = full || ended
		return e, err
	})
	// They come so nearly always, though the statement does not ask for it.
	slices.SortFunc(events, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	switch {
	case err != nil:
		return false, err
	case len(events) == 0 || events[0].ID != 0:
		return false, fmt.Errorf("%w: another host answered, which does not show both ticks, or they were just pruned", ErrLate)
	}
	if rows, err = results.Query(); err != nil {
		return false, err
	}
	into.Events = events[1:]
	into.Kinds, err = collectKinds(rows)
	return full || len(into.Events) == size, err
}
