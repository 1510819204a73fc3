package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/registry"

	"pgregory.net/rapid"
)

// movesModel is a source whose resources have ids, a log that is applied in pages, and a
// site whose places and copies put aside have the ids of what they hold.
type movesModel struct {
	*testBundle
	t        *rapid.T
	outer    *testing.T
	registry *registry.Registry

	source  map[string]int // by key, as the source is
	applied map[string]int // as the log has told
	log     []modelEvent   // not applied
	step    int            // how much of it is the present step
	next    int            // id
	event   int64

	places map[string]int
	aside  map[registry.Base]int
	jobs   []registry.Job
	open   []openRun
	had    map[int]bool // those that the registry has said to be in place
	told   []string
}

func (m *movesModel) tell(format string, args ...any) {
	m.told = append(m.told, fmt.Sprintf(format, args...))
}

func (m *movesModel) fail(format string, args ...any) {
	m.t.Fatalf("%s\n%s", strings.Join(m.told, "\n"), fmt.Sprintf(format, args...))
}

type modelEvent struct {
	eventlog.Event
	id int
}

type openRun struct {
	claim *registry.Claim
	id    int // what is to be put in place
}

var modelKeys = []string{"a", "b", "c", "d"}

func (m *movesModel) append(op eventlog.Op, key, moved string, id int) {
	m.event++
	e := event(m.event, op, key, `{}`)
	e.Moved = moved
	m.log = append(m.log, modelEvent{e, id})
	m.tell("event %d: %s %s %s, which is %d", e.ID, op, key, moved, id)
}

func (m *movesModel) create() {
	key := rapid.SampledFrom(modelKeys).Draw(m.t, "key")
	if _, taken := m.source[key]; !taken {
		m.next++
		m.source[key] = m.next
		m.append(eventlog.Created, key, "", m.next)
	}
}

// rename appends the events as the trigger does: first that of the old key.
func (m *movesModel) rename() {
	from, to := rapid.SampledFrom(modelKeys).Draw(m.t, "from"), rapid.SampledFrom(modelKeys).Draw(m.t, "to")
	id, there := m.source[from]
	if _, taken := m.source[to]; taken || !there {
		return
	}
	delete(m.source, from)
	m.source[to] = id
	m.append(eventlog.Deleted, from, to, id)
	m.append(eventlog.Created, to, from, id)
}

func (m *movesModel) change() {
	key := rapid.SampledFrom(modelKeys).Draw(m.t, "key")
	id, there := m.source[key]
	switch {
	case there && rapid.Bool().Draw(m.t, "delete"):
		delete(m.source, key)
		m.append(eventlog.Deleted, key, "", id)
	case there:
		m.append(eventlog.Updated, key, "", id)
	}
}

// page applies events of a step, at most n.
func (m *movesModel) page(n int) {
	if len(m.log) == 0 {
		return
	}
	if m.step == 0 {
		m.step = len(m.log)
	}
	n = min(n, m.step)
	tick := m.log[m.step-1].ID
	batch := eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 1}, Tick: tick}
	for _, e := range m.log[:n] {
		batch.Events = append(batch.Events, e.Event)
		if e.Op == eventlog.Deleted {
			delete(m.applied, e.ResourceID)
		} else {
			m.applied[e.ResourceID] = e.id
		}
	}
	m.ApplyBatch(m.outer, batch)
	m.tell("applied up to %d of %d", batch.Events[n-1].ID, tick)
	m.log, m.step = m.log[n:], m.step-n
	if m.step == 0 {
		m.Exec(m.outer, "UPDATE casq.cursors SET tick = $1", tick)
	}
	m.take()
}

func (m *movesModel) take() { m.jobs = append(m.jobs, m.TakeJobs(m.outer)...) }

// begin claims for a job, and does what a run does up to its staging.
func (m *movesModel) begin(i int) {
	job := m.jobs[i]
	m.jobs = slices.Delete(m.jobs, i, i+1)
	c, err := m.registry.Claim(m.outer.Context(), job.Token, 7)
	if errors.Is(err, registry.ErrSuperseded) || errors.Is(err, registry.ErrHandedOver) {
		return
	}
	if err != nil {
		m.fail("claim %v: %v", job, err)
	}
	m.tell("claimed %+v, deleted %v, incarnation %d, base %v, aside %d", c.Token, c.Deleted, c.Incarnation, c.Base, c.Aside)
	key := registry.Base{Key: c.ResourceID, Incarnation: c.Aside}
	if _, done := m.aside[key]; c.Aside != 0 && !done {
		m.aside[key] = m.places[c.ResourceID]
	}
	id := m.source[c.ResourceID]
	if !c.Deleted && c.Base.Key != "" {
		of, put := m.aside[c.Base]
		if !put {
			of = m.places[c.Base.Key]
		}
		if want, live := m.applied[c.ResourceID]; live && of != want {
			m.fail("%s, which is %d, is made of %v, which is %d", c.ResourceID, want, c.Base, of)
		}
	}
	if !c.Deleted && (id == 0 || id != m.applied[c.ResourceID]) {
		if _, err := m.registry.Fail(c, errors.New("changed"), nil); err != nil {
			m.fail("fail: %v", err)
		}
		m.jobs = append(m.jobs, job)
		m.take()
		return
	}
	m.open = append(m.open, openRun{c, id})
}

// end publishes or removes; or, where it is killed, may have done so and not committed.
func (m *movesModel) end(i int, killed, renamed bool) {
	run := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	put := func() {
		if run.claim.Deleted {
			delete(m.places, run.claim.ResourceID)
		} else {
			m.places[run.claim.ResourceID] = run.id
		}
	}
	var err error
	if killed {
		// Only under the row's lock: a row that says another thing would not have let it.
		if row := m.Row(m.outer, run.claim.ResourceID); renamed && row.Version == run.claim.Version {
			put()
		}
		err = m.registry.Release(run.claim)
	} else {
		err = m.registry.Publish(run.claim, registry.Result{}, func(context.Context) error { put(); return nil })
	}
	if err == nil && !killed && !run.claim.Deleted {
		m.had[run.id] = true
	}
	m.tell("ended %+v, killed %v, renamed %v: %v", run.claim.Token, killed, renamed, err)
	if err != nil && !errors.Is(err, registry.ErrSuperseded) {
		m.fail("end run of %v: %v", run.claim.Token, err)
	}
	m.take()
}

// sweep is what processes do every now and then.
func (m *movesModel) sweep() {
	if err := m.registry.Process().SweepMoves(m.outer.Context()); err != nil {
		m.fail("sweep: %v", err)
	}
	kept, err := registry.Kept(m.outer.Context(), m.Pool)
	if err != nil {
		m.fail("sweep: %v", err)
	}
	maps.DeleteFunc(m.aside, func(base registry.Base, _ int) bool { return !slices.Contains(kept[kind], base) })
	m.take()
}

// check is the promise: of what lives there is a copy, once there was one.
func (m *movesModel) check() {
	copies := make(map[int]bool)
	for _, id := range m.places {
		copies[id] = true
	}
	for _, id := range m.aside {
		copies[id] = true
	}
	for key, id := range m.source {
		if m.had[id] && !copies[id] {
			m.fail("no copy is left of %d, which is %s; in place are %v, aside %v", id, key, m.places, m.aside)
		}
	}
}

func (m *movesModel) act() {
	switch what := rapid.IntRange(0, 9).Draw(m.t, "what"); {
	case what < 1:
		m.create()
	case what < 4:
		m.rename()
	case what < 5:
		m.change()
	case what < 6:
		m.page(rapid.IntRange(1, 4).Draw(m.t, "events"))
	case what < 8 && len(m.jobs) > 0:
		m.begin(rapid.IntRange(0, len(m.jobs)-1).Draw(m.t, "job"))
	case what < 9 && len(m.open) > 0:
		killed := rapid.IntRange(0, 3).Draw(m.t, "killed") == 0
		m.end(rapid.IntRange(0, len(m.open)-1).Draw(m.t, "run"), killed, killed && rapid.Bool().Draw(m.t, "renamed"))
	default:
		m.sweep()
	}
}

// rest lets everything come to its end.
func (m *movesModel) rest() {
	for round := 0; len(m.log)+len(m.jobs)+len(m.open) > 0; round++ {
		if round > 1000 {
			m.fail("it does not come to its end: log %v, jobs %v, runs %v", m.log, m.jobs, m.open)
		}
		switch {
		case len(m.log) > 0:
			m.page(len(m.log))
		case len(m.open) > 0:
			m.end(0, false, false)
		default:
			m.begin(0)
		}
		m.check()
		if len(m.log)+len(m.jobs)+len(m.open) == 0 {
			m.sweep()
		}
	}
	m.sweep()
	stuck := m.Text(m.outer, `SELECT coalesce(string_agg(casq.why(kind, resource_id), E'\n'), '') FROM casq.registry WHERE synced_version IS DISTINCT FROM version`)
	if left := m.Text(m.outer, "SELECT count(*)::text FROM casq.moves"); stuck != "" || left != "0" || len(m.aside) > 0 || !maps.Equal(m.places, m.source) {
		m.fail("in place are %v, at the source %v; %s moves are left, and aside %v; %s", m.places, m.source, left, m.aside, stuck)
	}
}

// TestMovesKeepACopy: whatever moves where, in whatever order the log is read, in whatever
// pages, and runs begin, end, and are killed: of each resource that lives there is a copy at
// the second site, once there was one; none is made of another resource's; and all are in
// place in the end.
func TestMovesKeepACopy(t *testing.T) {
	t.Parallel()
	long.Test(t)
	b := setup(t)
	r := b.Registry(t)
	b.Exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce)
		VALUES ('registry', 1, 1, gen_random_uuid(), 0, gen_random_uuid())`)
	var last int64
	rapid.Check(t, func(rt *rapid.T) {
		b.Exec(t, "DELETE FROM casq.moves")
		b.Exec(t, "DELETE FROM casq.registry")
		b.Exec(t, "DELETE FROM jobs")
		m := &movesModel{testBundle: b, t: rt, outer: t, registry: r, event: last, source: map[string]int{}, applied: map[string]int{},
			places: map[string]int{}, aside: map[registry.Base]int{}, had: map[int]bool{}}
		defer func() { last = m.event + 1000 }()
		for range rapid.IntRange(1, 60).Draw(rt, "acts") {
			m.act()
			m.check()
		}
		m.rest()
	})
}
