package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
)

// severalKinds is a site with a kind before and one after that of the other
// tests, each with a resource of which no event has told.
func severalKinds(t *testing.T) *refetchBundle {
	t.Helper()
	b := setupRefetch(t)
	simple(t, b.Pool,
		`CREATE TABLE early (key text PRIMARY KEY, v int)`, `INSERT INTO early VALUES ('e', 1)`,
		`CREATE TABLE zulu (key text PRIMARY KEY, v int)`, `INSERT INTO zulu VALUES ('z', 1)`,
		trackEarly,
		`SELECT casq.track('zulu', kind => 'zulu', transfer => 'none', key_column => 'key', scope_column => 'v')`)
	b.put(t, "x", 1)
	b.tick(t)
	b.follow(t)
	return b
}

const trackEarly = `SELECT casq.track('early', kind => 'early', transfer => 'none', key_column => 'key', scope_column => 'v')`

const noEventTriggers = `DROP EVENT TRIGGER IF EXISTS casq_ddl; DROP EVENT TRIGGER IF EXISTS casq_drop`

// parts are the runs that a run has split off, and why.
const parts = `SELECT coalesce(string_agg(format('%s %s: %s', kind, CASE WHEN finished_at IS NULL THEN 'waits' ELSE 'finished' END, left(waiting, 200)), E'\n' ORDER BY kind), '')
	FROM casq.reconcile_runs WHERE part_of = $1`

// One kind that cannot be compared keeps no other from it, nor the run from its
// end; it is compared by a run of its own once it can be.
func TestReconcileGoesOnWithoutABadKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ spoil, mend, message, after string }{
		"dropped table": {
			noEventTriggers + `; DROP TABLE early`, `SELECT casq.untrack(kind => 'early')`, "casq.untrack(kind => 'early')", "early: unlisted true",
		},
		"lost scope column": {
			noEventTriggers + `; ALTER TABLE early DROP COLUMN v CASCADE`, `SELECT casq.untrack('early'); ALTER TABLE early ADD v int; ` + trackEarly, "has no column v", "early: created 1",
		},
		"a page that fails": {
			`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no such row, please''; END';
			 CREATE TRIGGER refuse BEFORE INSERT ON casq.registry FOR EACH ROW WHEN (NEW.kind = 'early') EXECUTE FUNCTION refuse()`,
			`DROP TRIGGER refuse ON casq.registry`, "no such row", "early: created 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := severalKinds(t)
			simple(t, b.Pool, test.spoil)
			id := b.ask(t, registry.Request{})
			r := b.reconciler(t)
			b.round(t, r)
			if got := b.Text(t, "SELECT max(state) FROM casq.reconcile_report WHERE run = $1", id); got != "finished" {
				t.Fatalf("the run is %s: %s", got, b.Text(t, "SELECT waiting FROM casq.reconcile_runs WHERE id = $1", id))
			}
			if got := b.report(t, id); got != "resource: created 1 zulu: created 1" {
				t.Errorf("got %q", got)
			}
			if got := b.Text(t, parts, id); !strings.HasPrefix(got, "early waits: ") || !strings.Contains(got, test.message) {
				t.Errorf("the part: %q, want %q", got, test.message)
			}
			// The next one meets the same, and does not ask for the same again.
			next := b.ask(t, registry.Request{})
			b.round(t, r)
			if got := b.Text(t, parts, next); got != "" {
				t.Errorf("the next run's part: %q", got)
			}
			simple(t, b.Pool, test.mend)
			b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
			b.round(t, r)
			if got := b.Text(t, parts, id); got != "early finished: " {
				t.Errorf("the part, at the end: %q", got)
			}
			if got := b.report(t, id+1); got != test.after {
				t.Errorf("the part has found %q, want %q", got, test.after)
			}
		})
	}
}

// Events that are lost for a kind are lost until that kind was compared: what a
// run was to compare, its part compares.
func TestReconcilePartReadsTheSame(t *testing.T) {
	t.Parallel()
	b := lostBundle(t)
	simple(t, b.Pool, noEventTriggers, `ALTER TABLE resources DROP COLUMN v CASCADE`)
	id := b.ask(t, registry.Request{Reason: registry.Lost, Beyond: &registry.Tick{Timeline: 1, ID: 10}, At: &registry.Tick{Timeline: 2, ID: 11}, AllowRemove: 7})
	r := b.reconciler(t)
	b.round(t, r)
	const same = `SELECT (reason, beyond_timeline, beyond_tick, at_timeline, at_tick, allow_remove, requested_at, walk, dry_run)::text FROM casq.reconcile_runs WHERE id = $1`
	if run, part := b.Text(t, same, id), b.Text(t, same, id+1); run != part {
		t.Errorf("the part is %s, the run %s", part, run)
	}
	simple(t, b.Pool, `SELECT casq.untrack('resources')`, `ALTER TABLE resources ADD v int DEFAULT 2`, trackResources)
	b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
	b.round(t, r)
	if got := b.report(t, id+1); got != "resource: changed 3 late 1 removed 1" {
		t.Errorf("got %q", got)
	}
}

// What is the fault of no kind interrupts the run as a whole.
func TestReconcileWithoutItsSourceIsNotSplit(t *testing.T) {
	t.Parallel()
	b := severalKinds(t)
	b.know(t, "x", 1, 1<<40, false) // of a tick that nobody shows
	id := b.ask(t, registry.Request{At: &registry.Tick{Timeline: 1, ID: 1 << 40}})
	b.round(t, b.reconciler(t))
	if got := b.Text(t, "SELECT max(state) FROM casq.reconcile_report WHERE run = $1", id); got != "waiting" {
		t.Errorf("the run is %s", got)
	}
	if got := b.Text(t, parts, id); got != "" {
		t.Errorf("parts: %q", got)
	}
}

// brokenTarget cannot be walked through, nor its staging be listed.
type brokenTarget struct{}

var errBroken = errors.New("input/output error")

func (brokenTarget) Walk(context.Context, string, string, func(Placed) error) error { return errBroken }

func (brokenTarget) ListStaging(context.Context, func(Staged) error) error { return errBroken }

func (brokenTarget) DropStaging(context.Context, Staged) error { return errBroken }

// A target that does not answer keeps nothing from being compared but what is in
// it.
func TestReconcileBesideABrokenTarget(t *testing.T) {
	t.Parallel()
	b := severalKinds(t)
	target := &placedList{}
	id := b.ask(t, registry.Request{Walk: true})
	b.Exec(t, "ALTER TABLE casq.kinds DISABLE TRIGGER guard_kind")
	b.Exec(t, "UPDATE casq.kinds SET transfer = 'file', prefix = '', source_prefix = '' WHERE kind = 'early'")
	b.round(t, b.reconciler(t, func(c *Config) {
		c.Staging = []Staging{brokenTarget{}, &stagingList{}}
		c.Targets = map[string]Target{eventlog.TransferFile: brokenTarget{}, eventlog.TransferNone: target}
	}))
	if got := b.Text(t, "SELECT max(state) FROM casq.reconcile_report WHERE run = $1", id); got != "finished" {
		t.Errorf("the run is %s: %s", got, b.Text(t, "SELECT waiting FROM casq.reconcile_runs WHERE id = $1", id))
	}
	if got := b.Text(t, parts, id); !strings.Contains(got, "early waits: ") || !strings.Contains(got, "input/output error") {
		t.Errorf("the part: %q", got)
	}
	if target.walks != 2 {
		t.Errorf("%d kinds were walked through, want 2", target.walks)
	}
}

// placedList is a target with nothing in it.
type placedList struct{ walks int }

func (p *placedList) Walk(context.Context, string, string, func(Placed) error) error {
	p.walks++
	return nil
}

// What somebody has to mend is tried ever more rarely, up to each quarter of an
// hour; what passes by itself, soon.
func TestReconcileTriesABadKindEverMoreRarely(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, spoil, age, least, most string
	}{
		{"new", noEventTriggers + `; DROP TABLE early`, "1 second", "0 s", "11 s"},
		{"an hour old", noEventTriggers + `; DROP TABLE early`, "1 hour", "10 min", "15 min"},
		{"20 minutes old", noEventTriggers + `; DROP TABLE early`, "20 minutes", "2 min", "8 min"},
		{"a source without ticks", `DELETE FROM casq.ticks`, "1 hour", "0 s", "11 s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := severalKinds(t)
			simple(t, b.Pool, c.spoil)
			id := b.ask(t, registry.Request{Kind: "early"})
			b.Exec(t, "UPDATE casq.reconcile_runs SET requested_at = clock_timestamp() - $1::interval WHERE id = $2", c.age, id)
			b.round(t, b.reconciler(t, func(cfg *Config) { cfg.Patience = 10 * time.Second }))
			got := b.Text(t, "SELECT (not_before - clock_timestamp() BETWEEN $2::interval AND $3::interval)::text || ' ' || (not_before - clock_timestamp()) || ': ' || waiting FROM casq.reconcile_runs WHERE id = $1", id, c.least, c.most)
			if !strings.HasPrefix(got, "true ") {
				t.Errorf("tried again in %s; want %s to %s", got, c.least, c.most)
			}
		})
	}
}
