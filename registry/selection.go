package registry

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed selection.sql
var selectionText string

// selectionSQL has the statements of selection.sql.
var selectionSQL = queries.Parse[struct{ Read, Floor, Change, Open string }]("registry/selection", selectionText)

// Changes of selections take the lock alone; whoever writes what a selection has
// let through takes it together with others, and reads the selection in a later
// statement: so each batch, and each page, is either before a change or after it.
// It is a transaction's first lock.
const (
	changeSelectionSQL = "SELECT pg_advisory_xact_lock(hashtextextended('casq.selections', 0))"
	holdSelectionSQL   = "SELECT pg_advisory_xact_lock_shared(hashtextextended('casq.selections', 0))"
)

// ErrSelectionChanged says that something was read under another selection than the
// present one, and must not be used: see [HoldSelection].
var ErrSelectionChanged = errors.New("the selection of the kind has changed since the page was read")

// ErrSelection says that a selection is not possible; the error's text says why, and
// what to do.
var ErrSelection = errors.New("selection is not possible")

// Selection is what a site has of a kind.
type Selection struct {
	Kind   string
	Scopes []string // only what is in these; nil: all; empty: nothing

	// ChangedAt and Generation, which rises with each change, are set where a
	// selection is read. Zero: it was never changed.
	ChangedAt  time.Time
	Generation int64
}

// All tells whether all of the kind is selected.
func (s *Selection) All() bool { return s.Scopes == nil }

// Nothing tells whether nothing of the kind is selected.
func (s *Selection) Nothing() bool { return s.Scopes != nil && len(s.Scopes) == 0 }

// has tells whether resources of a scope (nil: those without one) are wanted. In SQL,
// casq.selected tells the same.
func (s *Selection) has(scope *string) bool {
	if s.Scopes == nil {
		return true
	}
	if scope == nil {
		return false
	}
	_, found := slices.BinarySearch(s.Scopes, *scope)
	return found
}

// same tells whether both were read between the same two changes. A home that
// failed over may issue a generation again.
func (s *Selection) same(as *Selection) bool {
	return s.Generation == as.Generation && slices.Equal(s.Scopes, as.Scopes) && s.All() == as.All()
}

// Selections returns the selections that were ever changed, by kind.
func Selections(ctx context.Context, home eventlog.DB) (map[string]Selection, error) {
	rows, err := home.Query(ctx, selectionSQL.Read, nil)
	if err != nil {
		return nil, fmt.Errorf("read selections: %w", err)
	}
	return collectSelections(rows)
}

func collectSelections(rows pgx.Rows) (map[string]Selection, error) {
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Selection])
	if err != nil {
		return nil, fmt.Errorf("read selections: %w", err)
	}
	byKind := make(map[string]Selection, len(all))
	for _, s := range all {
		slices.Sort(s.Scopes) // by bytes
		byKind[s.Kind] = s
	}
	return byKind, nil
}

// ReadSelection returns the selection of one kind. It may change at any time;
// see [HoldSelection].
func ReadSelection(ctx context.Context, db eventlog.DB, kind string) (Selection, error) {
	rows, err := db.Query(ctx, selectionSQL.Read, kind)
	if err != nil {
		return Selection{}, fmt.Errorf("read selections: %w", err)
	}
	byKind, err := collectSelections(rows)
	s := byKind[kind]
	s.Kind = kind
	return s, err
}

// holdSelections keeps all selections as they are until tx ends, and returns
// them.
func holdSelections(ctx context.Context, tx pgx.Tx) (map[string]Selection, error) {
	var batch pgx.Batch
	batch.Queue(holdSelectionSQL)
	batch.Queue(selectionSQL.Read, nil)
	results := tx.SendBatch(ctx, &batch)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("wait for a change of the selection: %w", err)
	}
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("read selections: %w", err)
	}
	byKind, err := collectSelections(rows)
	if err != nil {
		return nil, err
	}
	return byKind, results.Close()
}

// HoldSelection keeps the selection of a kind as it was read until tx ends. It returns
// [ErrSelectionChanged] when it is another one by now. It is the transaction's first
// lock.
func HoldSelection(ctx context.Context, tx pgx.Tx, read Selection) error {
	if _, err := tx.Exec(ctx, holdSelectionSQL); err != nil {
		return fmt.Errorf("wait for a change of the selection: %w", err)
	}
	now, err := ReadSelection(ctx, tx, read.Kind)
	if err == nil && !now.same(&read) {
		err = ErrSelectionChanged
	}
	return err
}

// Select makes want this site's selection of a kind: what is outside of it is
// removed, what enters is copied. It returns the run of casq.reconcile_runs that
// applies it to what is there, 0 where it was the selection before and that run has
// finished. From its commit on the log is read by the new selection.
// Errors: [ErrSelection].
func Select(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, want Selection) (run int64, err error) {
	want, err = PrepareSelection(ctx, home, source, want)
	if err != nil {
		return 0, err
	}
	err = pgx.BeginTxFunc(ctx, home, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
		run, err = changeSelection(ctx, tx, want)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("select of kind %s: %w", want.Kind, err)
	}
	return run, nil
}

// PrepareSelection makes the kind known at home, and returns the selection as it would
// be stored. It refuses what the source cannot tell apart. Errors: [ErrSelection].
func PrepareSelection(ctx context.Context, home *pgxpool.Pool, source eventlog.DB, want Selection) (Selection, error) {
	refused, err := LearnKinds(ctx, home, source)
	if err = cmp.Or(err, refused[want.Kind]); err != nil {
		return want, fmt.Errorf("select of kind %s: %w", want.Kind, err)
	}
	kinds, err := eventlog.Kinds(ctx, home)
	if err != nil {
		return want, fmt.Errorf("select of kind %s: %w", want.Kind, err)
	}
	if _, known := kinds[want.Kind]; !known {
		list := strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
		return want, fmt.Errorf("%w: %w %q; known: %s", ErrSelection, eventlog.ErrUnknownKind, want.Kind, list)
	}
	if want.All() {
		// What left by a selection has to be found again. Without one there is nothing to find.
		if now, err := ReadSelection(ctx, home, want.Kind); err != nil || now.All() {
			return want, err
		}
	} else {
		want.Scopes = slices.Compact(slices.Sorted(slices.Values(want.Scopes)))
		if want.Scopes == nil {
			want.Scopes = []string{}
		}
	}
	var checked int
	err = source.QueryRow(ctx, "SELECT 1 FROM casq.check_scopes($1, $2)", want.Kind, want.Scopes).Scan(&checked)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && refused.Code == "22023" {
		return want, fmt.Errorf("%w: %s. %s", ErrSelection, strings.TrimPrefix(refused.Message, "casq: "), refused.Hint)
	}
	if err != nil {
		return want, fmt.Errorf("ask the source about scopes of kind %s: %w", want.Kind, err)
	}
	return want, nil
}

// changeSelection stores the selection, and asks for the run that applies it. All
// batches that went by the old one have committed by then, and home's cursor says what
// they had read: a page of the source that is not older than that shows all that they
// left out.
func changeSelection(ctx context.Context, tx pgx.Tx, want Selection) (run int64, err error) {
	if _, err := tx.Exec(ctx, changeSelectionSQL); err != nil {
		return 0, fmt.Errorf("wait for batches and pages that go by the old selection: %w", err)
	}
	changed, err := tx.Exec(ctx, selectionSQL.Change, want.Kind, want.Scopes)
	if err != nil {
		return 0, fmt.Errorf("store the selection: %w", err)
	}
	if changed.RowsAffected() == 0 {
		err := tx.QueryRow(ctx, selectionSQL.Open, want.Kind).Scan(&run)
		return run, err
	}
	request := Request{Kind: want.Kind, Reason: Selected}
	at, started, err := cursor.Position(ctx, tx, Cursor)
	if err != nil {
		return 0, err
	}
	if started {
		// Inside a step everything up to its end may be applied.
		request.At = &Tick{Timeline: at.Timeline.Ordinal, ID: max(at.Tick, at.ToTick)}
		if _, err := tx.Exec(ctx, selectionSQL.Floor, want.Kind, request.At.Timeline, request.At.ID); err != nil {
			return 0, fmt.Errorf("raise the floor: %w", err)
		}
	}
	return Ask(ctx, tx, request)
}
