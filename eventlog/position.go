package eventlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

var (
	// ErrLate says that the host does not show the position yet: wait, or ask
	// another host.
	ErrLate = errors.New("source is behind the position")

	// ErrLost says that the source has lost what was read up to the position,
	// after a failover that lost WAL. Nothing may be applied from here.
	ErrLost = errors.New("source has lost what was read")

	// ErrForeign says that the source is another database cluster than the one
	// the position was read from.
	ErrForeign = errors.New("source is another cluster")

	// ErrPruned says that the position's tick was pruned: the reader was away
	// for longer than events are kept.
	ErrPruned = errors.New("position was pruned")

	// ErrNoTicks says that no tick was ever taken, so there is nothing to
	// start from: wait for the primary's worker.
	ErrNoTicks = errors.New("source has no ticks yet")
)

// A Timeline is the time from one promotion of the source to the next. After a
// failover that lost WAL the ordinals are issued again, so it has an ID too.
type Timeline struct {
	Ordinal int32
	ID      uuid.UUID
}

// Position is how far a reader has come. The zero Position is no position: see
// [Reader.Start].
//
// Tick is the last tick whose events were all read. Inside a step that is read
// in pages, ToTick is the tick that the step leads to and Page the id of the
// last event that was read; otherwise the three are zero. Timeline is that of the
// furthest tick, ToTick or else Tick: a step may lead across a promotion.
type Position struct {
	System   int64 // the cluster's system identifier
	Timeline Timeline
	Tick     int64
	Nonce    uuid.UUID
	ToTick   int64
	ToNonce  uuid.UUID
	Page     int64
}

// Whoever keeps a position in a table has eight columns for it, in this order:
// system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page.

// Fields are where a row with a position's columns is scanned to.
func (p *Position) Fields() []any {
	return []any{&p.System, &p.Timeline.Ordinal, &p.Timeline.ID, &p.Tick, &p.Nonce, &p.ToTick, &p.ToNonce, &p.Page}
}

// Values are what is stored in a position's columns.
func (p Position) Values() []any {
	return []any{p.System, p.Timeline.Ordinal, p.Timeline.ID, p.Tick, p.Nonce, p.ToTick, p.ToNonce, p.Page}
}

// MarshalText has the columns in their order, with slashes. Nonces are random, so
// that the text names one point of one log, also after a failover that issued its
// tick ids again.
func (p Position) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d/%d/%s/%d/%s/%d/%s/%d", p.Values()...), nil
}

// UnmarshalText is the inverse of [Position.MarshalText].
func (p *Position) UnmarshalText(text []byte) (err error) {
	parts := strings.Split(string(text), "/")
	var read Position
	fields := read.Fields()
	if len(parts) != len(fields) {
		return fmt.Errorf("read position %q: want %d parts", text, len(fields))
	}
	for i, field := range fields {
		switch field := field.(type) {
		case *int64:
			*field, err = strconv.ParseInt(parts[i], 10, 64)
		case *int32:
			var n int64
			n, err = strconv.ParseInt(parts[i], 10, 32)
			*field = int32(n)
		case *uuid.UUID:
			*field, err = uuid.Parse(parts[i])
		}
		if err != nil {
			return fmt.Errorf("read position %q: %w", text, err)
		}
	}
	*p = read
	return nil
}

// InStep tells whether the position lies inside a step.
func (p Position) InStep() bool { return p.ToTick != 0 }

// String is for logs and error messages.
func (p Position) String() string {
	if p.InStep() {
		return fmt.Sprintf("tick %d of timeline %d, going to %d, after event %d", p.Tick, p.Timeline.Ordinal, p.ToTick, p.Page)
	}
	return fmt.Sprintf("tick %d of timeline %d", p.Tick, p.Timeline.Ordinal)
}
