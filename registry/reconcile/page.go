package reconcile

import (
	"context"
	"fmt"

	"casq/eventlog"
	"casq/internal/portion"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// page is what the source shows of some resources of a kind, and when. It is
// never older than the tick; it may be a little newer.
type page struct {
	kind     string
	listed   bool // the kind has a table there, or nothing of it is selected
	keys     []string
	payloads []string  // of keys; nil where they were not asked for
	scopes   []*string // likewise; nil of a resource in none
	last     *string   // where the next page begins; nil: this is the end
	answered int       // of the keys that were asked for, from the first one on

	timeline   int32
	timelineID uuid.UUID
	tick       int64

	selection registry.Selection // what is outside of it is not shown
}

// pageBytes is how many bytes of keys and payloads end a page, unless said
// otherwise.
const pageBytes = eventlog.DefaultPageBytes

// resourcesPage reads the page beyond a key; nil is the first one.
func resourcesPage(ctx context.Context, source eventlog.DB, wanted registry.Selection, after *string, size portion.Size) (*page, error) {
	p := &page{kind: wanted.Kind, selection: wanted}
	err := p.scan(source.QueryRow(ctx, refetchSQL.Resources, p.kind, after, size.Rows, wanted.Scopes, size.Bytes), &p.listed, &p.keys, &p.payloads, &p.scopes, &p.last)
	return p, err
}

// resourcesOf reads those of the keys that are there, until they have so many bytes.
func resourcesOf(ctx context.Context, source eventlog.DB, wanted registry.Selection, keys []string, bytes int64) (*page, error) {
	p := &page{kind: wanted.Kind, selection: wanted}
	err := p.scan(source.QueryRow(ctx, refetchSQL.Of, p.kind, keys, wanted.Scopes, bytes), &p.listed, &p.keys, &p.payloads, &p.scopes, &p.answered)
	return p, err
}

// resourcesMissing reads those of the keys that are not there.
func resourcesMissing(ctx context.Context, source eventlog.DB, wanted registry.Selection, keys []string) (*page, error) {
	p := &page{kind: wanted.Kind, selection: wanted}
	err := p.scan(source.QueryRow(ctx, refetchSQL.Missing, p.kind, keys, wanted.Scopes), &p.listed, &p.keys)
	return p, err
}

// coming returns those of the keys that the log will tell of: the page may be newer
// than its tick, and what it shows then has an event that no tick has delivered yet.
// A host that answers later shows that event, too; one that is behind shows fewer, and
// what differs is then put right twice.
func (p *page) coming(ctx context.Context, source eventlog.DB, keys []string) (map[string]bool, error) {
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // no event is coming
	}
	var coming []string
	if err := source.QueryRow(ctx, refetchSQL.Coming, p.kind, keys, p.tick, p.timeline).Scan(&coming); err != nil {
		return nil, fmt.Errorf("find events of kind %s that no tick has delivered: %w", p.kind, err)
	}
	is := make(map[string]bool, len(coming))
	for _, key := range coming {
		is[key] = true
	}
	return is, nil
}

func (p *page) scan(row pgx.Row, into ...any) error {
	var timeline *int32
	var timelineID *uuid.UUID
	var tick *int64
	if err := row.Scan(append(into, &timeline, &timelineID, &tick)...); err != nil {
		return fmt.Errorf("read resources of kind %s in the source: %w", p.kind, err)
	}
	if tick == nil {
		return eventlog.ErrNoTicks
	}
	p.timeline, p.timelineID, p.tick = *timeline, *timelineID, *tick
	return nil
}

// only returns the page with fewer resources, given by index.
func (p *page) only(indexes []int) *page {
	some := *p
	some.keys, some.payloads, some.scopes = make([]string, len(indexes)), make([]string, len(indexes)), make([]*string, len(indexes))
	for i, index := range indexes {
		some.keys[i], some.payloads[i], some.scopes[i] = p.keys[index], p.payloads[index], p.scopes[index]
	}
	return &some
}

// holdSelection keeps the selection with which the page was read until tx ends, or
// returns [registry.ErrSelectionChanged].
func holdSelection(ctx context.Context, tx pgx.Tx, p *page) error {
	return registry.HoldSelection(ctx, tx, p.selection)
}

// usable returns the page without keys that no event can have: rows that were
// there before their table was tracked.
func (p *page) usable() *page {
	var places []int
	for i, key := range p.keys {
		if len(key) >= 1 && len(key) <= 1024 {
			places = append(places, i)
		}
	}
	if len(places) == len(p.keys) {
		return p
	}
	return p.only(places)
}
