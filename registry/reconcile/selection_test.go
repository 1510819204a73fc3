package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/registry"
)

func (b *refetchBundle) selects(t *testing.T, scopes []string) (run int64) {
	t.Helper()
	run, err := registry.Select(t.Context(), b.Pool, b.Pool, registry.Selection{Kind: kind, Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// applySelection selects, and has the run that applies it carried out.
func (b *refetchBundle) applySelection(t *testing.T, scopes []string) (report string) {
	t.Helper()
	id := b.selects(t, scopes)
	b.round(t, b.reconciler(t))
	if state := b.Text(t, "SELECT state || coalesce(': ' || waiting, '') FROM casq.reconcile_report WHERE run = $1 LIMIT 1", id); state != "finished" {
		t.Fatalf("the run is %s", state)
	}
	return b.report(t, id)
}

// here are the keys of live rows.
func (b *refetchBundle) here(t *testing.T) string {
	t.Helper()
	return b.Text(t, "SELECT coalesce(string_agg(resource_id, ' ' ORDER BY resource_id), '') FROM casq.registry WHERE deleted_at IS NULL")
}

func (b *refetchBundle) wantHere(t *testing.T, want string) {
	t.Helper()
	if got := b.here(t); got != want {
		t.Errorf("here are %q, want %q", got, want)
	}
}

func TestSelect(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupRefetch(t)
	for i := range 12 {
		b.put(t, fmt.Sprintf("k%02d", i), i%3)
	}
	b.Exec(t, "INSERT INTO resources VALUES ('none', NULL)")
	b.tick(t)
	b.follow(t)
	if got := b.reconcile(t, registry.Request{}); got != "resource: created 13" {
		t.Fatalf("at first: %s", got)
	}
	b.TakeJobs(t)
	if got := b.applySelection(t, []string{"2", "1", "1", "77"}); got != "resource: removed 5" {
		t.Errorf("leaving 0 and what has none: %s", got)
	}
	b.wantHere(t, "k01 k02 k04 k05 k07 k08 k10 k11")
	jobs := b.TakeJobs(t)
	if keysOf(jobs) != "k00, k03, k06, k09, none" || !jobs[0].Deleted || !b.Row(t, "k00").Deleted {
		t.Errorf("jobs %v", jobs)
	}
	if run := b.selects(t, []string{"1", "2", "77"}); run != 0 {
		t.Errorf("the same selection is run %d", run)
	}
	if got := b.applySelection(t, []string{"0", "2"}); got != "resource: created 4 removed 4" {
		t.Errorf("1 for 0: %s", got)
	}
	b.wantHere(t, "k00 k02 k03 k05 k06 k08 k09 k11")
	if got := b.Text(t, "SELECT scope_id FROM casq.registry WHERE resource_id = 'k00'"); got != "0" {
		t.Errorf("k00 is in scope %s", got)
	}
	if got := b.applySelection(t, []string{}); got != "resource: removed 8" {
		t.Errorf("nothing: %s", got)
	}
	b.wantHere(t, "")
	if got := b.applySelection(t, nil); got != "resource: created 13" {
		t.Errorf("all: %s", got)
	}
}

// Whoever reads the source sees only what is selected.
func TestPagesSeeTheSelection(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	for i := range 6 {
		b.put(t, fmt.Sprintf("k%d", i), i%2)
	}
	now := b.tick(t)
	b.follow(t)
	b.know(t, "k0", 0, now, false)
	b.know(t, "k1", 1, now, false)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)

	report := b.refetch(t, "k0", "k1", "k2", "k3", "never")
	if report != (RefetchReport{Copied: 2, Removed: 1, Unknown: 2}) {
		t.Errorf("re-fetch: %+v", report)
	}
	b.wantHere(t, "k1 k3")
	if got := b.reconcile(t, registry.Request{}); got != "resource: created 1" {
		t.Errorf("reconcile: %s", got)
	}
	b.wantHere(t, "k1 k3 k5")
	// Rows of lost ticks, a tombstone of what is not selected among them.
	b.Exec(t, "UPDATE casq.registry SET tick = $1, payload = '{}' WHERE resource_id IN ('k0', 'k1')", now-1)
	b.know(t, "k4", 0, now-1, false)
	if got := b.reconcile(t, registry.Request{Reason: registry.Lost, Beyond: &registry.Tick{Timeline: 1, ID: now - 2}, At: &registry.Tick{Timeline: 1, ID: now}}); got != "resource: changed 3 removed 1" {
		t.Errorf("what came with lost ticks: %s", got)
	}
	b.wantHere(t, "k1 k3 k5")
	if _, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, registry.ResyncOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantHere(t, "k1 k3 k5")
}

// A kind that cannot be listed, and of which nothing is selected, is not brought
// back by a run that copies unseen.
func TestNothingOfAKindWithoutATable(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	now := b.tick(t)
	b.follow(t)
	simple(t, b.Pool, `SELECT casq.untrack('resources')`)
	b.know(t, "here", 0, now, false)
	b.know(t, "gone", 0, now, true)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{}')", kind)
	if got := b.reconcile(t, registry.Request{Reason: registry.Pruned, At: &registry.Tick{Timeline: 1, ID: now}}); got != "resource: removed 1" {
		t.Errorf("got %s", got)
	}
	b.know(t, "again", 0, now, false)
	if report := b.refetch(t, "again"); report != (RefetchReport{Removed: 1}) {
		t.Errorf("re-fetch: %+v", report)
	}
	b.wantHere(t, "")
}

// What is in place and not selected is nobody's, or comes to be removed again.
func TestAWalkSeesTheSelection(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	for _, key := range []string{"orphan", "back"} {
		b.put(t, key, 2)
	}
	b.tick(t)
	b.follow(t)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)
	b.Exec(t, "UPDATE casq.registry SET synced_version = version WHERE resource_id = 'new'")
	got := b.reconcile(t, registry.Request{Walk: true, RemoveOrphans: true}, b.configure(100))
	if want := "removed 1"; !strings.Contains(got, want) || !strings.Contains(got, "orphans_removed 2") {
		t.Errorf("got %q", got)
	}
	if r := b.Row(t, "orphan"); !r.Deleted {
		t.Errorf("%+v", r)
	}
}

// A changed selection says nothing of what cannot be listed any more.
func TestASelectionLeavesWhatCannotBeListed(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	now := b.tick(t)
	b.follow(t)
	b.know(t, "k", 0, now, false)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)
	id := b.selects(t, nil)
	simple(t, b.Pool, `SELECT casq.untrack('resources')`)
	before := b.Row(t, "k").Version
	b.round(t, b.reconciler(t))
	if got := b.report(t, id); got != "resource: unlisted true" {
		t.Errorf("got %s", got)
	}
	if got := b.Row(t, "k"); got.Deleted || got.Version != before {
		t.Errorf("%+v", got)
	}
}

// A table that has lost its scope column must not look empty.
func TestALostScopeColumnRemovesNothing(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "k", 1)
	b.tick(t)
	b.follow(t)
	b.reconcile(t, registry.Request{})
	b.applySelection(t, []string{"1"})
	simple(t, b.Pool, `SELECT casq.untrack('resources')`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', payload_columns => ARRAY['v'])`)
	b.tick(t)
	b.follow(t)
	id := b.ask(t, registry.Request{})
	b.round(t, b.reconciler(t))
	if got := b.Text(t, "SELECT waiting FROM casq.reconcile_runs WHERE part_of = $1", id); !strings.Contains(got, "has no scope column any more") {
		t.Errorf("the kind waits for %q", got)
	}
	b.wantHere(t, "k")
}

// The run reads only hosts that show what home had read, and what rows came
// with, when the selection changed.
func TestASelectionWaitsForItsHost(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]string{
		"of the cursor": `UPDATE casq.cursors SET tick = tick + 1`,
		"of its step":   `UPDATE casq.cursors SET to_tick = tick + 1, to_nonce = gen_random_uuid(), page = 1`,
		"of a row":      `UPDATE casq.registry SET tick = tick + 1`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "k", 1)
			now := b.tick(t)
			b.follow(t)
			b.know(t, "k", 1, now, false)
			b.Exec(t, change)
			id := b.selects(t, []string{"2"})
			reconciler := b.reconciler(t)
			b.round(t, reconciler)
			if got := b.Text(t, "SELECT coalesce(waiting, 'nothing') FROM casq.reconcile_runs WHERE id = $1", id); !strings.Contains(got, "behind") {
				t.Errorf("it waits for %s", got)
			}
			b.wantHere(t, "k")
			b.tick(t)
			b.Exec(t, "UPDATE casq.cursors SET to_tick = 0, to_nonce = '00000000-0000-0000-0000-000000000000', page = 0")
			b.follow(t)
			b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
			b.round(t, reconciler)
			b.wantHere(t, "")
		})
	}
}

// A page that is older than the change would bring back what batches saw leave,
// and left no tombstone of.
func TestASelectionRaisesTheFloor(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.follow(t)
	b.Exec(t, "UPDATE casq.cursors SET tick = 50")
	b.selects(t, []string{"1"})
	if got := b.Text(t, "SELECT timeline || '/' || tick FROM casq.registry_floors"); got != "1/50" {
		t.Errorf("the floor is %s", got)
	}
	b.Exec(t, "UPDATE casq.cursors SET tick = 40")
	b.selects(t, []string{"2"})
	if got := b.Text(t, "SELECT timeline || '/' || tick FROM casq.registry_floors"); got != "1/50" {
		t.Errorf("the floor is %s", got)
	}
	b.Exec(t, "UPDATE casq.cursors SET tick = 60")
	b.selects(t, []string{"3"})
	if got := b.Text(t, "SELECT timeline || '/' || tick FROM casq.registry_floors"); got != "1/60" {
		t.Errorf("the floor is %s", got)
	}
}

// Rows without a scope have one of their own, which is selected like any other.
func TestSelectRowsWithoutAScope(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.Exec(t, "INSERT INTO resources VALUES ('in', 7), ('without', NULL)")
	for scopes, want := range map[string]string{"{}": "", "{\"\"}": "without", "{7}": "in", "{7,\"\"}": "in without"} {
		b.Exec(t, "SELECT casq.check_scopes($1, $2::text[])", kind, scopes)
		if got := b.Text(t, "SELECT coalesce(array_to_string(r.keys, ' '), '') FROM casq.resources($1, NULL, 10, $2::text[]) AS r", kind, scopes); got != want {
			t.Errorf("selected %s: %q, want %q", scopes, got, want)
		}
	}
}

func TestSelectRefuses(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	simple(t, b.Pool, `CREATE TABLE plain (key text PRIMARY KEY)`, `SELECT casq.track('plain', kind => 'plain', transfer => 'none', key_column => 'key')`,
		`SELECT casq.define_kind('by_hand', 'none')`)
	for name, test := range map[string]struct {
		want registry.Selection
		err  string
	}{
		"unknown":     {registry.Selection{Kind: "thong", Scopes: []string{"1"}}, `unknown kind "thong"; known: by_hand, plain, resource`},
		"no table":    {registry.Selection{Kind: "by_hand", Scopes: []string{}}, "no tracked table at the source"},
		"no scope":    {registry.Selection{Kind: "plain", Scopes: []string{"1"}}, "no scope column"},
		"no number":   {registry.Selection{Kind: kind, Scopes: []string{"1", "x"}}, "'x' is no scope"},
		"another way": {registry.Selection{Kind: kind, Scopes: []string{"07"}}, "Write it as '7'"},
		"too large":   {registry.Selection{Kind: kind, Scopes: []string{"77777777777"}}, "is no scope"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := registry.Select(t.Context(), b.Pool, b.Pool, test.want)
			if !errors.Is(err, registry.ErrSelection) || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %v, want %s", err, test.err)
			}
		})
	}
	for _, want := range []registry.Selection{{Kind: "plain", Scopes: []string{}}, {Kind: "by_hand"}, {Kind: kind, Scopes: []string{"-1"}}} {
		if _, err := registry.Select(t.Context(), b.Pool, b.Pool, want); err != nil {
			t.Errorf("%+v: %v", want, err)
		}
	}
	// What has left cannot be found again without the table.
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ('by_hand', '{}')")
	if _, err := registry.Select(t.Context(), b.Pool, b.Pool, registry.Selection{Kind: "by_hand"}); !errors.Is(err, registry.ErrSelection) || !strings.Contains(err.Error(), "no tracked table at the source") {
		t.Errorf("all of a kind that has left: %v", err)
	}
	b.Exec(t, "DELETE FROM casq.selections WHERE kind = 'by_hand'")
	all, err := registry.Selections(t.Context(), b.Pool)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v; %v", all, err)
	}
	plain, resources := all["plain"], all[kind]
	if !plain.Nothing() || plain.All() || resources.Nothing() || resources.Generation != 1 || resources.ChangedAt.IsZero() {
		t.Errorf("%+v", all)
	}
}

// That most of a kind leaves does not look like a wrong source; that most is not
// there at all does.
func TestLeavingIsNotHeldBack(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := many(t, 150, 150)
	if got := b.applySelection(t, []string{}); got != "resource: removed 150" {
		t.Errorf("got %q", got)
	}
	b = many(t, 150, 20)
	if got := b.applySelection(t, []string{"150"}); got != "resource: held_back 149" {
		t.Errorf("got %q", got)
	}
}
