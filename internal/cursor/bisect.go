package cursor

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"casq/eventlog"
	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

const (
	// mostReason bounds the reason that is stored with a failure, in bytes.
	mostReason = 4000
	// mostWarnings bounds the lines about single events of one batch.
	mostWarnings = 20
)

// bisection applies a batch part by part, each in a savepoint of its own, and
// keeps the order of events.
type bisection struct {
	*holder
	tx    pgx.Tx
	batch eventlog.Batch
	dead  int // events that were dead-lettered
}

func (p *bisection) run(ctx context.Context) error {
	// Events must not fail at the commit, when nobody can tell which it was.
	if _, err := p.tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return fmt.Errorf("check constraints at once: %w", err)
	}
	if err := p.apply(ctx, p.batch.Events); err != nil {
		return err
	}
	if p.dead > mostWarnings {
		p.log.WarnContext(ctx, "more events could not be applied, dead-lettered", "events", p.dead-mostWarnings)
	}
	return nil
}

// apply tries events together, and in halves when they are refused. Of n events
// that are refused one by one there are 2n-1 tries; a savepoint is released
// before the next one is made, so that they do not pile up.
func (p *bisection) apply(ctx context.Context, events []eventlog.Event) error {
	err := p.try(ctx, events)
	switch {
	case err == nil:
		return nil
	case !isData(err):
		return fmt.Errorf("apply %d of %d events: %w", len(events), len(p.batch.Events), err)
	case len(events) == 1:
		return p.deadLetter(ctx, events[0], err)
	}
	half := len(events) / 2
	if err := p.apply(ctx, events[:half]); err != nil {
		return err
	}
	return p.apply(ctx, events[half:])
}

// try applies events in a savepoint. When they are refused, no event has had an
// effect.
func (p *bisection) try(ctx context.Context, events []eventlog.Event) error {
	part := p.batch
	part.Events = slices.Clip(events)
	return savepoint(ctx, p.tx, func() error { return p.cfg.Consumer.Apply(ctx, p.tx, part) })
}

// savepoint calls f in a savepoint, which is gone at the end in any case.
func savepoint(ctx context.Context, tx pgx.Tx, f func() error) error {
	if _, err := tx.Exec(ctx, "SAVEPOINT part"); err != nil {
		return fmt.Errorf("set a savepoint: %w", err)
	}
	if err := f(); err != nil {
		const back = "ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part"
		if _, backErr := tx.Exec(ctx, back, pgx.QueryExecModeSimpleProtocol); backErr != nil {
			return fmt.Errorf("go back to the savepoint: %w", backErr)
		}
		return err
	}
	if _, err := tx.Exec(ctx, "RELEASE SAVEPOINT part"); err != nil {
		return fmt.Errorf("release the savepoint: %w", err)
	}
	return nil
}

// deadLetter stores an event that cannot be applied, with the reason. Home may be
// unable to store that as well, in its encoding: then what it cannot is escaped,
// and the payload left out. The source has it.
func (p *bisection) deadLetter(ctx context.Context, e eventlog.Event, reason error) error {
	why := database.Text(reason.Error(), mostReason)
	err := savepoint(ctx, p.tx, func() error { return p.insert(ctx, e, why, database.Code(reason)) })
	if isData(err) {
		e.ResourceID, e.Payload = ascii(e.ResourceID), nil
		if e.ScopeID != nil {
			scope := ascii(*e.ScopeID)
			e.ScopeID = &scope
		}
		err = p.insert(ctx, e, ascii(why), database.Code(reason))
	}
	if err != nil {
		return fmt.Errorf("dead-letter event %d: %w", e.ID, err)
	}
	p.dead++
	if p.dead <= mostWarnings {
		p.log.WarnContext(ctx, "event could not be applied, dead-lettered",
			"kind", e.Kind, "resource_id", e.ResourceID, "event_id", e.ID, "err", reason)
	}
	return nil
}

func (p *bisection) insert(ctx context.Context, e eventlog.Event, reason, code string) error {
	var payload *string
	if e.Payload != nil {
		text := string(e.Payload)
		payload = &text
	}
	_, err := p.tx.Exec(ctx, cursorSQL.Fail, p.cfg.Name, p.batch.Timeline.Ordinal, e.ID, p.batch.Tick, e.Kind, e.ResourceID,
		e.ScopeID, e.Op, payload, e.OccurredAt, reason, code, p.retries.tries+1)
	return err
}

// ascii escapes what is not ASCII, as in Go's strings.
func ascii(text string) string {
	quoted := strconv.QuoteToASCII(text)
	return quoted[1 : len(quoted)-1]
}
