package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// sourceLog is the log as the source has it at the end.
type sourceLog struct {
	events    map[int64]*sourceEvent
	nonces    map[int64]uuid.UUID // of ticks
	timelines map[uuid.UUID]int32 // ordinals
}

// sourceEvent is an event that has to be applied exactly once.
type sourceEvent struct {
	kind, key string
	timeline  int32 // the first one of which a tick shows it
	applied   bool  // by a tick that the source has
	before    bool  // by one that it has lost, before the place gone back to
}

// delivery is one event that was recorded, with the tick that delivered it.
type delivery struct {
	timeline, nonce uuid.UUID
	tick            int64
	event, times    int64
	kind, key       string
}

// checkEvents checks whether each event was applied exactly once.
//
// Deliveries count by the tick that delivered them. By ticks that the source
// has, an event came once, and nothing came that the source does not have.
// What came by a tick that the source has lost may come again: it is only asked
// for once by that tick. It need not come again when the newest tick that is
// left of that timeline, which is gone back to, shows it.
func checkEvents(ctx context.Context, c *chaos) (found []violation, err error) {
	log, err := c.sourceLog(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.site.home.DB.Query(ctx, checkSQL.RecordedEvents)
	if err != nil {
		return nil, err
	}
	var d delivery
	lost := 0
	_, err = pgx.ForEachRow(rows, []any{&d.timeline, &d.tick, &d.nonce, &d.event, &d.times, &d.kind, &d.key}, func() error {
		if log.nonces[d.tick] != d.nonce {
			lost++
		}
		if text := log.problem(d); text != "" {
			found = append(found, violation{fmt.Sprintf("event %d (%s %s) by tick %d: %s", d.event, d.kind, d.key, d.tick, text), d.kind, d.key})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id, e := range log.events {
		if !e.applied && !e.before {
			found = append(found, violation{fmt.Sprintf("event %d (%s %s) was never applied", id, e.kind, e.key), e.kind, e.key})
		}
	}
	var rewound int
	err = c.site.home.DB.QueryRow(ctx, "SELECT count(*) FROM rewound").Scan(&rewound)
	c.journal.say("%d events and %d timelines at the source; %d deliveries by ticks that were lost, %d times gone back",
		len(log.events), len(log.timelines), lost, rewound)
	return found, err
}

// problem says what is wrong with a delivery.
func (l *sourceLog) problem(d delivery) string {
	if d.times != 1 {
		return fmt.Sprintf("applied %d times", d.times)
	}
	e := l.events[d.event]
	if l.nonces[d.tick] != d.nonce {
		if ordinal, there := l.timelines[d.timeline]; there && e != nil && e.timeline <= ordinal {
			e.before = true
		}
		return ""
	}
	switch {
	case e == nil:
		return "the source has no such event, but has the tick"
	case e.applied:
		return "applied again by another tick"
	}
	e.applied = true
	return ""
}

func (c *chaos) sourceLog(ctx context.Context) (*sourceLog, error) {
	l := &sourceLog{events: make(map[int64]*sourceEvent), nonces: make(map[int64]uuid.UUID), timelines: make(map[uuid.UUID]int32)}
	var id int64
	var nonce, timeline uuid.UUID
	var ordinal int32
	var kind, key string
	for _, part := range []struct {
		sql  string
		into []any
		keep func()
	}{
		{checkSQL.SourceEvents, []any{&id, &kind, &key, &ordinal}, func() { l.events[id] = &sourceEvent{kind: kind, key: key, timeline: ordinal} }},
		{"SELECT id, nonce FROM casq.ticks", []any{&id, &nonce}, func() { l.nonces[id] = nonce }},
		{"SELECT id, timeline FROM casq.timelines", []any{&timeline, &ordinal}, func() { l.timelines[timeline] = ordinal }},
	} {
		rows, err := c.site.source.DB.Query(ctx, part.sql)
		if err != nil {
			return nil, err
		}
		if _, err := pgx.ForEachRow(rows, part.into, func() error { part.keep(); return nil }); err != nil {
			return nil, err
		}
	}
	return l, nil
}
