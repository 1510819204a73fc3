package reconcile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/google/uuid"
)

// lostBundle is a site that has read ticks 50 and more of timeline 1, which the
// source has lost: its timeline 2 began after tick 10.
func lostBundle(t *testing.T) *refetchBundle {
	t.Helper()
	b := setupRefetch(t)
	b.Exec(t, `INSERT INTO casq.timelines SELECT 2, gen_random_uuid(), system_identifier, server_timeline, 11, '0/0' FROM casq.timelines`)
	for _, key := range []string{"kept", "lost and there", "lost update", "lost delete", "lost, and changed since"} {
		b.put(t, key, 2)
	}
	b.Exec(t, `DELETE FROM casq.ticks WHERE id > 0`)
	b.tick(t)
	b.Exec(t, `UPDATE casq.ticks SET timeline = 2, id = 11 WHERE id > 0`)
	b.know(t, "kept", 1, 5, false)
	b.know(t, "lost create", 9, 50, false)
	b.know(t, "lost and there", 2, 50, false)
	b.know(t, "lost update", 9, 50, false)
	b.know(t, "lost delete", 9, 51, true)
	b.know(t, "lost create and delete", 9, 51, true)
	b.know(t, "lost, and changed since", 2, 50, false)
	b.Exec(t, `UPDATE casq.registry SET timeline = 2, tick = 12 WHERE resource_id = 'lost, and changed since'`)
	b.follow(t)
	return b
}

// Only what came with lost ticks is compared, also where nothing differs.
func TestReconcileBeyond(t *testing.T) {
	t.Parallel()
	for _, bytes := range []int64{pageBytes, 20, 1} {
		t.Run(fmt.Sprint("pages of ", bytes, " bytes"), func(t *testing.T) { t.Parallel(); beyond(t, 3, bytes) })
	}
	// Also where a page has nothing to compare.
	t.Run("pages of a row", func(t *testing.T) { t.Parallel(); beyond(t, 1, pageBytes) })
}

func beyond(t *testing.T, rows int, bytes int64) {
	t.Helper()
	b := lostBundle(t)
	kept, since := b.Row(t, "kept"), b.Row(t, "lost, and changed since")
	got := b.reconcile(t, registry.Request{Reason: registry.Lost, Beyond: &registry.Tick{Timeline: 1, ID: 10}, At: &registry.Tick{Timeline: 2, ID: 11}}, func(c *Config) { c.PageSize, c.PageBytes = rows, bytes })
	if got != "resource: changed 3 late 1 removed 1" {
		t.Errorf("got %q", got)
	}
	jobs := b.TakeJobs(t)
	keys := keysOf(slices.SortedFunc(slices.Values(jobs), func(x, y registry.Job) int { return registrytest.CompareTokens(x.Token, y.Token) }))
	if keys != "lost and there, lost create, lost delete, lost update" {
		t.Errorf("jobs for %s", keys)
	}
	for key, want := range map[string]registrytest.Row{
		"lost create":            {Timeline: 2, Tick: 11, EventID: 0, Deleted: true, Status: "removing"},
		"lost and there":         {Timeline: 2, Tick: 11, EventID: 0, Payload: `{"v": 2}`, Status: "pending"},
		"lost update":            {Timeline: 2, Tick: 11, EventID: 0, Payload: `{"v": 2}`, Status: "pending"},
		"lost delete":            {Timeline: 2, Tick: 11, EventID: 0, Payload: `{"v": 2}`, Status: "pending"},
		"lost create and delete": {Timeline: 1, Tick: 51, EventID: 1000, Deleted: true, Status: "removed"},
	} {
		got := b.Row(t, key)
		short := registrytest.Row{Timeline: got.Timeline, Tick: got.Tick, EventID: got.EventID, Deleted: got.Deleted, Status: got.Status}
		if !want.Deleted {
			short.Payload = got.Payload
		}
		if short != want {
			t.Errorf("%s: got %+v, want %+v", key, short, want)
		}
	}
	// Though nothing differs it may be another resource.
	if got := b.Row(t, "lost and there"); got.Incarnation != 2 {
		t.Errorf("what was lost and is there has incarnation %d", got.Incarnation)
	}
	if b.Row(t, "kept").Version != kept.Version || b.Row(t, "lost, and changed since").Version != since.Version {
		t.Error("others were touched")
	}
}

// What cannot be listed is copied again, never deleted, where events were lost;
// else it is left alone. The report says so.
func TestReconcileOfAKindWithoutATable(t *testing.T) {
	t.Parallel()
	b := lostBundle(t)
	simple(t, b.Pool, `SELECT casq.untrack('resources')`)
	if got := b.reconcile(t, registry.Request{}); got != "resource: unlisted true" {
		t.Errorf("got %q", got)
	}
	b.WantJobs(t)
	b.know(t, "lost tombstone", 1, 52, true)
	got := b.reconcile(t, registry.Request{Reason: registry.Lost, Beyond: &registry.Tick{Timeline: 1, ID: 10}, At: &registry.Tick{Timeline: 2, ID: 11}})
	if got != "resource: changed 6 late 1 unlisted true" {
		t.Errorf("got %q", got)
	}
	if jobs := b.TakeJobs(t); len(jobs) != 6 || slices.ContainsFunc(jobs, func(j registry.Job) bool { return j.Deleted }) {
		t.Errorf("got %v", jobs)
	}
	if got := b.reconcile(t, registry.Request{Reason: registry.Pruned, At: &registry.Tick{Timeline: 2, ID: 11}}); got != "resource: changed 7 late 1 unlisted true" {
		t.Errorf("pruned: got %q", got)
	}
}

// A run of one kind leaves the others alone, and resources of a kind that home has
// never heard of get their rows.
func TestReconcileKinds(t *testing.T) {
	t.Parallel()
	source, home := setupRefetch(t), &refetchBundle{setup(t)}
	simple(t, source.Pool, `CREATE TABLE others (key bigint PRIMARY KEY)`,
		`SELECT casq.track('others', kind => 'a_other', transfer => 'file', key_column => 'key', queue => 'q')`, `INSERT INTO others VALUES (7)`)
	source.put(t, "x", 1)
	tick := source.tick(t)
	var timeline uuid.UUID
	if err := source.Pool.QueryRow(t.Context(), "SELECT id FROM casq.timelines").Scan(&timeline); err != nil {
		t.Fatal(err)
	}
	home.Exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce) VALUES ('registry', 1, 1, $1, $2, $1)`, timeline, tick)
	from := func(c *Config) { c.Source = source.Pool }
	if got := home.reconcile(t, registry.Request{Kind: "a_other"}, from); got != "a_other: created 1" {
		t.Errorf("got %q", got)
	}
	if got := home.reconcile(t, registry.Request{}, from); got != "resource: created 1" && got != "a_other: resource: created 1" {
		t.Errorf("got %q", got)
	}
	kinds, err := eventlog.Kinds(t.Context(), home.Pool)
	if err != nil || kinds["a_other"].Queue != "q" {
		t.Errorf("%v: %v", kinds, err)
	}
}

// A change that nobody has read, and that left the payload as it was, shows only
// in what is in place: all of it is compared.
func TestStartingOverComparesContents(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	for _, key := range []string{"one", "two"} {
		b.put(t, key, 1)
		b.know(t, key, 1, 1, false)
	}
	b.Exec(t, "ALTER TABLE casq.kinds DISABLE TRIGGER guard_kind")
	b.Exec(t, "UPDATE casq.kinds SET transfer = 'file', prefix = '', source_prefix = ''")
	b.Exec(t, "UPDATE casq.registry SET verified_at = now() + interval '1 hour' WHERE resource_id = 'two'")
	tick := b.tick(t)
	b.follow(t)
	for reason, want := range map[registry.Reason]string{registry.Pruned: "resource: checks 1", registry.Lost: "resource: checks 1", registry.Scheduled: "", registry.Failover: ""} {
		checks := &checkList{}
		got := b.reconcile(t, registry.Request{Reason: reason}, func(c *Config) { c.Checks, c.VerifyEvery = checks, 24*time.Hour })
		if got != want {
			t.Errorf("%s: got %q, want %q", reason, got, want)
		}
	}
	got := b.reconcile(t, registry.Request{At: &registry.Tick{Timeline: 1, ID: tick}}, func(c *Config) { c.Checks, c.VerifyEvery = &checkList{}, 24*time.Hour })
	if got != "resource: checks 1" {
		t.Errorf("reset: got %q", got)
	}
}
