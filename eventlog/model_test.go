package eventlog_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// model is Postgres as the log sees it: transaction ids, event ids, snapshots.
// It makes histories that a real server would take hours for, and writes into
// the tables what such a server would show at each moment.
type model struct {
	tx pgx.Tx // all of the history is in one transaction, rolled back

	nextXid         int64
	latestCompleted int64
	lastID          int64
	open            map[int64][]modelEvent // by xid
	holder          map[string]int64       // who has the row lock of a resource

	tick, high int64
	visible    []modelEvent // committed

	reader   *eventlog.Reader
	position eventlog.Position
	read     []eventlog.Event
}

type modelEvent struct {
	xid, id  int64
	resource string
}

func newModel(ctx context.Context, t *rapid.T, tx pgx.Tx) *model {
	m := &model{
		tx: tx, nextXid: 1000, latestCompleted: 999, open: map[int64][]modelEvent{}, holder: map[string]int64{},
		reader: eventlog.NewReader(tx, rapid.IntRange(1, 6).Draw(t, "page")),
	}
	// Its transactions are made up.
	m.exec(ctx, t, "ALTER TABLE casq.events DROP CONSTRAINT events_xid_is_the_writers")
	m.exec(ctx, t, "INSERT INTO casq.timelines (timeline, system_identifier, server_timeline, began_tick, began_lsn) SELECT 1, system_identifier, 1, 0, '0/0' FROM pg_control_system()")
	m.exec(ctx, t, "INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn) VALUES (0, 1, '1:1:', 0, 0, '0/0')")
	p, err := m.reader.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.position = p
	return m
}

func (m *model) exec(ctx context.Context, t *rapid.T, sql string, args ...any) {
	if _, err := m.tx.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (m *model) begin() {
	m.open[m.nextXid] = nil
	m.nextXid++
}

// add lets a transaction append an event of a resource, unless it would have to
// wait for another's row lock.
func (m *model) add(xid int64, resource string) {
	if holder, held := m.holder[resource]; held && holder != xid {
		return
	}
	m.holder[resource] = xid
	m.lastID++
	m.open[xid] = append(m.open[xid], modelEvent{xid, m.lastID, resource})
}

func (m *model) end(ctx context.Context, t *rapid.T, xid int64, commits bool) {
	for _, e := range m.open[xid] {
		if commits {
			m.exec(ctx, t, "INSERT INTO casq.events (xid, id, kind, resource_id, op) OVERRIDING SYSTEM VALUE VALUES ($1::text::xid8, $2, 'resource', $3, 'updated')",
				fmt.Sprint(xid), e.id, e.resource)
			m.visible = append(m.visible, e)
		}
	}
	maps.DeleteFunc(m.holder, func(_ string, holder int64) bool { return holder == xid })
	delete(m.open, xid)
	m.latestCompleted = max(m.latestCompleted, xid)
}

func (m *model) snapshot() string {
	xmax := m.latestCompleted + 1
	xmin := xmax
	var xip []string
	for _, xid := range slices.Sorted(maps.Keys(m.open)) {
		if xid < xmax {
			xip = append(xip, fmt.Sprint(xid))
			xmin = min(xmin, xid)
		}
	}
	return fmt.Sprintf("%d:%d:%s", xmin, xmax, strings.Join(xip, ","))
}

// takeTick is casq.tick, with events appended and transactions begun between
// its snapshot and its row.
func (m *model) takeTick(ctx context.Context, t *rapid.T, between func()) {
	snapshot, high := m.snapshot(), m.lastID
	between()
	xid := m.nextXid
	m.nextXid++
	m.tick++
	m.exec(ctx, t, "INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn) VALUES ($1, 1, $2::text::pg_snapshot, $3, $4, '0/0')",
		m.tick, snapshot, m.high, high)
	m.high = high
	m.latestCompleted = max(m.latestCompleted, xid)
}

// readPage reads a page; the next reader may be another process.
func (m *model) readPage(ctx context.Context, t *rapid.T) (more bool) {
	batch, err := m.reader.Next(ctx, m.position)
	if err != nil {
		t.Fatal(err)
	}
	m.read = append(m.read, batch.Events...)
	more = batch.Next != m.position
	m.position = batch.Next
	return more
}

func (m *model) someOpen(t *rapid.T) (xid int64, ok bool) {
	if len(m.open) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.open))).Draw(t, "xid"), true
}

func (m *model) step(ctx context.Context, t *rapid.T, actions []string) {
	action := rapid.SampledFrom(actions).Draw(t, "action")
	xid, ok := int64(0), true
	if action == "add" || action == "commit" || action == "abort" {
		xid, ok = m.someOpen(t)
	}
	switch {
	case !ok:
	case action == "begin":
		m.begin()
	case action == "add":
		m.add(xid, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "resource"))
	case action == "commit", action == "abort":
		m.end(ctx, t, xid, action == "commit")
	case action == "tick":
		m.takeTick(ctx, t, func() {
			for range rapid.IntRange(0, 3).Draw(t, "between") {
				m.step(ctx, t, []string{"begin", "add", "commit"})
			}
		})
	case action == "read":
		m.readPage(ctx, t)
	}
}

// check compares what was read with what was committed.
func (m *model) check(t *rapid.T) {
	want := map[int64]string{}
	for _, e := range m.visible {
		want[e.id] = e.resource
	}
	newest := map[string]int64{}
	for _, e := range m.read {
		if want[e.ID] != e.ResourceID {
			t.Fatalf("event %d of %s was not committed, or was read twice", e.ID, e.ResourceID)
		}
		delete(want, e.ID)
		if e.ID < newest[e.ResourceID] {
			t.Fatalf("event %d of %s came after event %d", e.ID, e.ResourceID, newest[e.ResourceID])
		}
		newest[e.ResourceID] = e.ID
	}
	for id := range want {
		t.Fatalf("event %d was never read", id)
	}
}

func TestReaderAgainstAModel(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	rapid.Check(t, func(rt *rapid.T) {
		ctx := t.Context()
		tx, err := conn.Begin(ctx)
		if err != nil {
			rt.Fatal(err)
		}
		defer tx.Rollback(ctx)
		m := newModel(ctx, rt, tx)
		for range rapid.IntRange(10, 80).Draw(rt, "steps") {
			m.step(ctx, rt, []string{"begin", "begin", "add", "add", "add", "commit", "commit", "abort", "tick", "tick", "read", "read"})
		}
		for _, xid := range slices.Sorted(maps.Keys(m.open)) {
			m.end(ctx, rt, xid, true)
		}
		m.takeTick(ctx, rt, func() {})
		for m.readPage(ctx, rt) {
		}
		m.check(rt)
	})
}

// casq.events_between agrees with a reading of every event.
func TestEventsBetweenAgainstAModel(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	rapid.Check(t, func(rt *rapid.T) {
		ctx := t.Context()
		tx, err := conn.Begin(ctx)
		if err != nil {
			rt.Fatal(err)
		}
		defer tx.Rollback(ctx)
		m := newModel(ctx, rt, tx)
		snapshots := []string{"1:1:"}
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			m.step(ctx, rt, []string{"begin", "begin", "add", "commit", "commit", "abort"})
			snapshots = append(snapshots, m.snapshot())
		}
		// What is still open has rows too; no snapshot shows them.
		for _, xid := range slices.Sorted(maps.Keys(m.open)) {
			m.end(ctx, rt, xid, true)
		}
		var wrong string
		err = tx.QueryRow(ctx, `
			WITH moments AS (SELECT snapshot::pg_snapshot, i FROM unnest($1::text[]) WITH ORDINALITY AS m (snapshot, i))
			SELECT coalesce(string_agg(format('%s to %s', older.snapshot, newer.snapshot), '; '), '')
			FROM moments AS older JOIN moments AS newer ON older.i <= newer.i
			WHERE casq.events_between(older.snapshot, newer.snapshot) <> EXISTS (
				SELECT FROM casq.events AS e
				WHERE NOT pg_visible_in_snapshot(e.xid, older.snapshot) AND pg_visible_in_snapshot(e.xid, newer.snapshot))`,
			snapshots).Scan(&wrong)
		if err != nil {
			rt.Fatal(err)
		}
		if wrong != "" {
			rt.Fatalf("casq.events_between is wrong from %s", wrong)
		}
	})
}
