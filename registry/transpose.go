package registry

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed transpose.sql
var transposeText string

// transposeSQL has the statements of transpose.sql.
var transposeSQL = queries.Parse[struct{ Transpose, Prompt string }]("registry/transpose", transposeText)

// Cursor is the name of the cursor whose consumer the [Transposer] is.
const Cursor = "registry"

// Transposer turns the log into registry rows and jobs. It is the consumer of
// the cursor [Cursor].
type Transposer struct {
	Jobs Jobs
	// AllowRemove is that of the requests that [Transposer.Rewound] makes.
	AllowRemove int64
}

// Apply collapses the batch to one intent per resource, writes the rows in key
// order under new versions, and queues one job for each row that changed, all
// in the transaction that moves the cursor.
func (t *Transposer) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	batch.Events = ofResources(batch.Events)
	if len(batch.Events) == 0 {
		return nil
	}
	selections, err := holdSelections(ctx, tx)
	if err != nil {
		return err
	}
	if err := learn(ctx, tx, batch); err != nil {
		return err
	}
	intents := collapse(batch.Events, selections)
	rows, err := tx.Query(ctx, transposeSQL.Transpose, columns(intents, batch)...)
	if err != nil {
		return fmt.Errorf("transpose %d resources: %w", len(intents), err)
	}
	jobs, err := CollectJobs(rows)
	if err != nil {
		return fmt.Errorf("transpose %d resources: %w", len(intents), err)
	}
	// As it was before the statement.
	if _, err := tx.Exec(ctx, "SET LOCAL plan_cache_mode = force_custom_plan"); err != nil {
		return fmt.Errorf("transpose %d resources: %w", len(intents), err)
	}
	if len(jobs) == 0 {
		return nil
	}
	if err := yield(ctx, tx, jobs, intents); err != nil {
		return err
	}
	woken, err := moved(ctx, tx, batch, intents, jobs)
	if err != nil {
		return err
	}
	jobs = append(jobs, woken...)
	if err := t.Jobs.Insert(ctx, tx, jobs, true); err != nil {
		return fmt.Errorf("queue %d jobs: %w", len(jobs), err)
	}
	return nil
}

// ofResources leaves out what is a signal to others.
func ofResources(events []eventlog.Event) []eventlog.Event {
	if !slices.ContainsFunc(events, func(e eventlog.Event) bool { return e.Signal() }) {
		return events
	}
	return slices.DeleteFunc(slices.Clone(events), func(e eventlog.Event) bool { return e.Signal() })
}

// yield puts what a backfill alone asks for behind other events, unless it takes
// the place of what is prompt: an event is not put behind a backfill by it. The
// rows are locked, so each job of a version before is there, or none will be.
func yield(ctx context.Context, tx pgx.Tx, jobs []Job, intents []intent) error {
	if !slices.ContainsFunc(intents, func(in intent) bool { return in.bulk }) {
		return nil
	}
	bulk := make(map[[2]string]bool)
	for _, in := range intents {
		bulk[[2]string{in.kind, in.resourceID}] = in.bulk
	}
	var kinds, keys []string
	for i := range jobs {
		j := &jobs[i]
		if bulk[[2]string{j.Kind, j.ResourceID}] {
			j.Urgency = Bulk
			kinds, keys = append(kinds, j.Kind), append(keys, j.ResourceID)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, transposeSQL.Prompt, kinds, keys)
	if err != nil {
		return fmt.Errorf("find jobs in whose place a backfill comes: %w", err)
	}
	prompt := make(map[[2]string]bool)
	var kind, key string
	_, err = pgx.ForEachRow(rows, []any{&kind, &key}, func() error { prompt[[2]string{kind, key}] = true; return nil })
	if err != nil {
		return fmt.Errorf("find jobs in whose place a backfill comes: %w", err)
	}
	for i := range jobs {
		if prompt[[2]string{jobs[i].Kind, jobs[i].ResourceID}] {
			jobs[i].Urgency = Prompt
		}
	}
	return nil
}

// CollectJobs reads rows of kind, key, version, and whether it is a removal.
func CollectJobs(rows pgx.Rows) ([]Job, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Job, error) {
		var j Job
		err := row.Scan(&j.Kind, &j.ResourceID, &j.Version, &j.Deleted)
		return j, err
	})
}

// intent is what a batch wants of one resource.
type intent struct {
	kind, resourceID string
	eventID          int64
	deleted          bool
	deletes          int64 // deletes on the way, also those followed by a create
	created          bool  // on the way, at least once
	bulk             bool  // nothing but a backfill tells of it
	payload          json.RawMessage
	scope            *string // as of the newest event
	placed           bool    // an event tells where the resource is, not where it was
	near             bool    // an event names a scope that is selected
	quiet            bool    // a delete of a resource that was never selected, as far as the batch tells
}

// collapse keeps the last event of each resource and counts its deletes: a resource
// that was deleted and created again is another one, though only the create is
// carried out.
//
// What ends outside of the selection is wanted no more: for this site that is a
// delete.
func collapse(events []eventlog.Event, selections map[string]Selection) []intent {
	type key struct{ kind, resourceID string }
	index := make(map[key]int, len(events))
	intents := make([]intent, 0, len(events))
	for _, e := range events {
		i, seen := index[key{e.Kind, e.ResourceID}]
		if !seen {
			i = len(intents)
			index[key{e.Kind, e.ResourceID}] = i
			intents = append(intents, intent{kind: e.Kind, resourceID: e.ResourceID, bulk: true})
		}
		in := &intents[i]
		in.eventID, in.deleted, in.payload = e.ID, e.Op == eventlog.Deleted, e.Payload
		if in.deleted {
			in.deletes++
		}
		in.created = in.created || e.Op == eventlog.Created
		in.bulk = in.bulk && e.Bulk
		in.place(e, selections)
	}
	for i := range intents {
		intents[i].limit(selections)
	}
	slices.SortFunc(intents, func(a, b intent) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.resourceID, b.resourceID))
	})
	return intents
}

// place notes the event's scope. A resource that changes its scope has an event that
// takes it away from the one, and then one that brings it to the other. Appended
// by hand they may come the other way round; and a page may end between the two.
func (in *intent) place(e eventlog.Event, selections map[string]Selection) {
	if s, limited := selections[e.Kind]; limited && s.has(e.ScopeID) {
		in.near = true
	}
	was := e.Op == eventlog.Updated && e.ItemDelta < 0
	if was && in.placed {
		return
	}
	in.scope, in.placed = e.ScopeID, !was
}

// limit makes the intent of a resource that is not selected a delete. It is quiet where
// no event of the batch names a selected scope: without a live row nothing is written
// then. Where the resource was in the selection, a tombstone is needed, as after any
// delete: an older event that is still to come, or an older page of the source, would
// bring it back.
func (in *intent) limit(selections map[string]Selection) {
	s, limited := selections[in.kind]
	if !limited || s.has(in.scope) {
		return
	}
	in.quiet = !in.near
	if !in.deleted {
		in.deleted, in.deletes = true, in.deletes+1
	}
}

func columns(intents []intent, batch eventlog.Batch) []any {
	n := len(intents)
	kinds, ids, events := make([]string, n), make([]string, n), make([]int64, n)
	deleted, deletes, payloads := make([]bool, n), make([]int64, n), make([]string, n)
	created, scopes, quiet := make([]bool, n), make([]*string, n), make([]bool, n)
	for i, in := range intents {
		kinds[i], ids[i], events[i] = in.kind, in.resourceID, in.eventID
		deleted[i], deletes[i], payloads[i] = in.deleted, in.deletes, string(in.payload)
		created[i], scopes[i], quiet[i] = in.created, in.scope, in.quiet
	}
	return []any{kinds, ids, events, deleted, deletes, payloads, batch.Timeline.Ordinal, batch.Tick, created, scopes, quiet}
}

// learn makes the source's kinds known at home, as they come, so that runs need no
// connection to the source for them. Home's kinds are read anew for each batch: one may
// have been dropped.
func learn(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	kinds, err := eventlog.Kinds(ctx, tx)
	if err != nil {
		return err
	}
	// Only those of these events: a kind that home refuses must not have the others
	// refused.
	return insertKinds(ctx, tx, unknown(kinds, batch.Events), batch.Kinds)
}

// unknown are the kinds of events that are not among those known, in order.
func unknown(kinds map[string]eventlog.Kind, events []eventlog.Event) []string {
	names := make(map[string]bool)
	for i := range events {
		if _, known := kinds[events[i].Kind]; !known {
			names[events[i].Kind] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func insertKinds(ctx context.Context, tx pgx.Tx, names []string, source map[string]eventlog.Kind) error {
	// In order, so that two that learn the same kinds at once do not wait in circles.
	for _, name := range names {
		k, defined := source[name]
		if !defined {
			return fmt.Errorf("%w %q: neither home nor the source has a definition", eventlog.ErrUnknownKind, name)
		}
		var prefix, sourcePrefix *string
		if k.Transfer != eventlog.TransferNone {
			prefix, sourcePrefix = &k.Prefix, &k.SourcePrefix
		}
		_, err := tx.Exec(ctx, `INSERT INTO casq.kinds (kind, transfer, queue, prefix, source_prefix, missing, quiet, probe)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (kind) DO NOTHING`, name, k.Transfer, k.Queue, prefix, sourcePrefix, cmp.Or(k.Missing, eventlog.MissingFailed), k.Quiet, k.Probe)
		if err != nil {
			return fmt.Errorf("learn kind %q of the source: %w", name, err)
		}
	}
	return nil
}
