package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Op is what happened to a resource.
type Op string

// The operations of the log.
const (
	Created Op = "created"
	Updated Op = "updated"
	Deleted Op = "deleted"
)

// Event is one row of the log.
type Event struct {
	ID         int64
	Kind       string
	ResourceID string // the resource's key; a relative path for files and repositories
	Op         Op
	Bulk       bool // of a backfill: nothing has happened to the resource now
	// ScopeID is what the deltas are counted under; nil: nothing. The newest event
	// of a resource names the scope that it is in, so one that moves has two: the
	// first takes it away from the one, the second brings it to the other.
	ScopeID *string
	// Moved is the other key of a resource whose key has changed: of a Deleted event the
	// key that it has now, of a Created one the key that it had. Empty: it has not.
	Moved      string
	SizeDelta  int64 // bytes
	ItemDelta  int64
	Payload    json.RawMessage // a JSON object; what a worker needs to know
	OccurredAt time.Time
}

// Signal tells whether the event is of no resource: it tells those who follow the log
// for themselves that something has changed. Its kind has a colon, which no kind of
// resource has.
func (e *Event) Signal() bool { return strings.ContainsRune(e.Kind, ':') }

// ErrUnknownKind is returned by [Append] for a kind that was never defined.
var ErrUnknownKind = errors.New("unknown kind")

// Append adds an event to tx and returns its id. Call it after the change that
// the event tells of, in the same transaction: the event with the highest id
// is taken as the newest. ID, Bulk and OccurredAt of e are ignored; a nil payload is
// an empty object.
func Append(ctx context.Context, tx pgx.Tx, e Event) (int64, error) {
	payload := e.Payload
	if payload == nil {
		payload = json.RawMessage("{}")
	}
	var id int64
	err := tx.QueryRow(ctx, logSQL.Append, e.Kind, e.ResourceID, string(e.Op), payload, e.ScopeID, e.SizeDelta, e.ItemDelta, e.Moved).Scan(&id)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42704" {
		return 0, fmt.Errorf("append event: %w %q: %s", ErrUnknownKind, e.Kind, pgErr.Hint)
	}
	if err != nil {
		return 0, fmt.Errorf("append event of %s %q: %w", e.Kind, e.ResourceID, err)
	}
	return id, nil
}

// ErrNoRow is returned by [Touch] for a key that no row has.
var ErrNoRow = errors.New("no row has the key")

// Touch appends to tx an updated event of a resource whose bytes may have changed
// although its row, in a tracked table, has not, and returns its id. Call it after the
// change. It waits for whoever has locked the row. Errors: [ErrUnknownKind],
// [ErrNotTracked], [ErrNoRow].
func Touch(ctx context.Context, tx pgx.Tx, kind, key string) (id int64, err error) {
	err = tx.QueryRow(ctx, logSQL.Touch, kind, key).Scan(&id)
	if err == nil {
		return id, nil
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	reasons := map[string]error{"42704": ErrUnknownKind, "55000": ErrNotTracked, "P0002": ErrNoRow}
	if !ok || reasons[refused.Code] == nil || !strings.HasPrefix(refused.Message, "casq: ") {
		return 0, fmt.Errorf("touch %s %q: %w", kind, key, err)
	}
	return 0, fmt.Errorf("touch %s %q: %w: %s (%s)", kind, key, reasons[refused.Code], strings.TrimPrefix(refused.Message, "casq: "), refused.Hint)
}
