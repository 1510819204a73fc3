package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// sourceLog is the log as the source has it at the end.
type sourceLog struct {
	events map[int64]*sourceEvent
	marks  map[int64]uuid.UUID // of ticks
	lives  map[uuid.UUID]int32 // ordinals
}

// sourceEvent is an event that has to be applied exactly once.
type sourceEvent struct {
	kind, key string
	life      int32 // the first one of which a tick shows it
	applied   bool  // by a tick that the source has
	before    bool  // by one that it has lost, before the place gone back to
}

// delivery is one event that was recorded, with the tick that delivered it.
type delivery struct {
	life, mark   uuid.UUID
	tick         int64
	event, times int64
	kind, key    string
}

// checkEvents looks whether each event was applied exactly once.
//
// Deliveries count by the tick that delivered them. By ticks that the source
// has, an event came once, and nothing came that the source does not have.
// What came by a tick that the source has lost may come again: it is only asked
// for once by that tick. It need not come again when the newest tick that is
// left of that life, which is gone back to, shows it.
func checkEvents(ctx context.Context, c *chaos) (found []violation, err error) {
	log, err := c.sourceLog(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.site.h.Query(ctx, checkSQL.RecordedEvents)
	if err != nil {
		return nil, err
	}
	var d delivery
	lost := 0
	_, err = pgx.ForEachRow(rows, []any{&d.life, &d.tick, &d.mark, &d.event, &d.times, &d.kind, &d.key}, func() error {
		if log.marks[d.tick] != d.mark {
			lost++
		}
		if text := log.judge(d); text != "" {
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
	err = c.site.h.QueryRow(ctx, "SELECT count(*) FROM rewound").Scan(&rewound)
	c.timeline.say("%d events and %d lives at the source; %d deliveries by ticks that were lost, %d times gone back",
		len(log.events), len(log.lives), lost, rewound)
	return found, err
}

// judge says what is wrong with a delivery.
func (l *sourceLog) judge(d delivery) string {
	if d.times != 1 {
		return fmt.Sprintf("applied %d times", d.times)
	}
	e := l.events[d.event]
	if l.marks[d.tick] != d.mark {
		if ordinal, there := l.lives[d.life]; there && e != nil && e.life <= ordinal {
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
	l := &sourceLog{events: make(map[int64]*sourceEvent), marks: make(map[int64]uuid.UUID), lives: make(map[uuid.UUID]int32)}
	var id int64
	var mark, life uuid.UUID
	var ordinal int32
	var kind, key string
	for _, part := range []struct {
		sql  string
		into []any
		keep func()
	}{
		{checkSQL.SourceEvents, []any{&id, &kind, &key, &ordinal}, func() { l.events[id] = &sourceEvent{kind: kind, key: key, life: ordinal} }},
		{"SELECT id, mark FROM casq.ticks", []any{&id, &mark}, func() { l.marks[id] = mark }},
		{"SELECT id, life FROM casq.lives", []any{&life, &ordinal}, func() { l.lives[life] = ordinal }},
	} {
		rows, err := c.site.db.Query(ctx, part.sql)
		if err != nil {
			return nil, err
		}
		if _, err := pgx.ForEachRow(rows, part.into, func() error { part.keep(); return nil }); err != nil {
			return nil, err
		}
	}
	return l, nil
}
