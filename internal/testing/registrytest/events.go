package registrytest

import (
	"encoding/json"
	"fmt"
	"testing"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// Event is one of the test kind.
func Event(id int64, op eventlog.Op, key, payload string) eventlog.Event {
	return eventlog.Event{ID: id, Kind: Kind, ResourceID: key, Op: op, Payload: json.RawMessage(payload)}
}

// Apply transposes a batch of timeline 1, at a tick that is the last event's id.
func (h *Home) Apply(t *testing.T, events ...eventlog.Event) {
	t.Helper()
	h.ApplyBatch(t, eventlog.Batch{Events: events, Timeline: eventlog.Timeline{Ordinal: 1}, Tick: events[len(events)-1].ID})
}

// ApplyBatch transposes a batch.
func (h *Home) ApplyBatch(t *testing.T, batch eventlog.Batch) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), h.Pool, func(tx pgx.Tx) error {
		return h.Transposer.Apply(t.Context(), tx, batch)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Scoped is an event of the test kind in a scope.
func Scoped(id int64, op eventlog.Op, key, scope string, items int64) eventlog.Event {
	e := Event(id, op, key, fmt.Sprintf(`{"at": %d}`, id))
	e.ItemDelta = items
	if scope != "" {
		e.ScopeID = &scope
	}
	return e
}

// Rewound tells the transposer that the log goes on from before.
func (h *Home) Rewound(t *testing.T, w eventlog.Rewind) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), h.Pool, func(tx pgx.Tx) error {
		return h.Transposer.Rewound(t.Context(), tx, w)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Position is a tick of a timeline.
func Position(timeline int32, tick int64) eventlog.Position {
	return eventlog.Position{System: 7, Timeline: eventlog.Timeline{Ordinal: timeline}, Tick: tick}
}
