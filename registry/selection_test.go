package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"casq/eventlog"
)

func (b *refetchBundle) selects(t *testing.T, scopes []string) (run int64) {
	t.Helper()
	run, err := Select(t.Context(), b.pool, b.pool, Selection{Kind: kind, Scopes: scopes})
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
	if state := b.text(t, "SELECT state || coalesce(': ' || waiting, '') FROM casq.reconcile_report WHERE run = $1 LIMIT 1", id); state != "finished" {
		t.Fatalf("the run is %s", state)
	}
	return b.report(t, id)
}

// here are the keys of live rows.
func (b *refetchBundle) here(t *testing.T) string {
	t.Helper()
	return b.text(t, "SELECT coalesce(string_agg(resource_id, ' ' ORDER BY resource_id), '') FROM casq.registry WHERE deleted_at IS NULL")
}

func (b *refetchBundle) wantHere(t *testing.T, want string) {
	t.Helper()
	if got := b.here(t); got != want {
		t.Errorf("here are %q, want %q", got, want)
	}
}

// scoped is an event of the test kind in a scope.
func scoped(id int64, op eventlog.Op, key, scope string, items int64) eventlog.Event {
	e := event(id, op, key, fmt.Sprintf(`{"at": %d}`, id))
	e.ItemDelta = items
	if scope != "" {
		e.ScopeID = &scope
	}
	return e
}

// limited is a home in which only scopes of the kind are selected.
func setupLimited(t *testing.T, scopes ...string) *testBundle {
	t.Helper()
	b := setup(t)
	b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, $2)", kind, append([]string{}, scopes...))
	return b
}

func TestWhatIsNotSelectedIsNotWanted(t *testing.T) {
	t.Parallel()
	const (
		made, changed, deleted = eventlog.Created, eventlog.Updated, eventlog.Deleted
		nothing                = "nothing"
	)
	move := func(id int64, from, to string) []eventlog.Event {
		return []eventlog.Event{scoped(id, changed, "k", from, -1), scoped(id+1, changed, "k", to, 1)}
	}
	one := func(e eventlog.Event) []eventlog.Event { return []eventlog.Event{e} }
	type batches = [][]eventlog.Event
	for name, test := range map[string]struct {
		batches batches
		want    string // live or gone, its scope, the event of its payload
		jobs    int    // of the last batch
	}{
		"inside":                   {batches{one(scoped(1, made, "k", "7", 1))}, "live in 7 at 1", 1},
		"outside":                  {batches{one(scoped(1, made, "k", "9", 1))}, nothing, 0},
		"in no scope":              {batches{one(scoped(1, made, "k", "", 1))}, nothing, 0},
		"outside, and deleted":     {batches{one(scoped(1, made, "k", "9", 1)), one(scoped(2, deleted, "k", "9", -1))}, nothing, 0},
		"changed outside":          {batches{one(scoped(1, changed, "k", "9", 0))}, nothing, 0},
		"enters":                   {batches{one(scoped(1, made, "k", "9", 1)), move(2, "9", "7")}, "live in 7 at 3", 1},
		"leaves":                   {batches{one(scoped(1, made, "k", "7", 1)), move(2, "7", "9")}, "gone in 9 at 1", 1},
		"leaves, and changes":      {batches{one(scoped(1, made, "k", "7", 1)), move(2, "7", "9"), one(scoped(4, changed, "k", "9", 0))}, "gone in 9 at 1", 0},
		"moves within":             {batches{one(scoped(1, made, "k", "7", 1)), move(2, "7", "8")}, "live in 8 at 3", 1},
		"moves outside":            {batches{one(scoped(1, made, "k", "9", 1)), move(2, "9", "10")}, nothing, 0},
		"leaves and comes back":    {batches{one(scoped(1, made, "k", "7", 1)), slices.Concat(move(2, "7", "9"), move(4, "9", "7"))}, "live in 7 at 5", 1},
		"enters and leaves":        {batches{one(scoped(1, made, "k", "9", 1)), slices.Concat(move(2, "9", "7"), move(4, "7", "9"))}, "gone in 9 at 5", 1},
		"enters and is deleted":    {batches{slices.Concat(move(2, "9", "7"), one(scoped(4, deleted, "k", "7", -1)))}, "gone in 7 at 4", 1},
		"comes back later":         {batches{one(scoped(1, made, "k", "7", 1)), move(2, "7", "9"), move(4, "9", "8")}, "live in 8 at 5", 1},
		"a page between the two":   {batches{one(scoped(1, made, "k", "7", 1)), move(2, "7", "9")[:1], move(2, "7", "9")[1:]}, "gone in 9 at 2", 1},
		"a page between, entering": {batches{one(scoped(1, made, "k", "9", 1)), move(2, "9", "7")[:1], move(2, "9", "7")[1:]}, "live in 7 at 3", 1},
		"a page between, within":   {batches{one(scoped(1, made, "k", "7", 1)), move(2, "7", "8")[:1], move(2, "7", "8")[1:]}, "live in 8 at 3", 1},
		"appended by hand, plus first": {batches{one(scoped(1, made, "k", "7", 1)),
			{scoped(2, changed, "k", "9", 1), scoped(3, changed, "k", "7", -1)}}, "gone in 9 at 1", 1},
		"leaves before it is there":   {batches{move(2, "7", "9"), one(scoped(1, made, "k", "7", 1))}, "gone in 9 at 3", 0},
		"deleted before it is there":  {batches{one(scoped(2, deleted, "k", "7", -1)), one(scoped(1, made, "k", "7", 1))}, "gone in 7 at 2", 0},
		"leaves, deleted, then there": {batches{move(2, "7", "9"), one(scoped(4, deleted, "k", "9", -1)), one(scoped(1, made, "k", "7", 1))}, "gone in 9 at 3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupLimited(t, "7", "8")
			var jobs []Job
			for _, batch := range test.batches {
				b.apply(t, batch...)
				jobs = b.takeJobs(t)
			}
			got := b.oneText(t, `SELECT coalesce(max(format('%s in %s at %s', CASE WHEN deleted_at IS NULL THEN 'live' ELSE 'gone' END,
				scope_id, payload ->> 'at')), 'nothing') FROM casq.registry`)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if len(jobs) != test.jobs {
				t.Errorf("got jobs %v, want %d", jobs, test.jobs)
			}
		})
	}
}

func (b *testBundle) oneText(t *testing.T, sql string, args ...any) (s string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// What leaves is another resource when it comes back: a copy that is under way may
// not be published for it.
func TestLeavingEndsTheIncarnation(t *testing.T) {
	t.Parallel()
	b := setupLimited(t, "7")
	b.apply(t, scoped(1, eventlog.Created, "k", "7", 1))
	before := b.row(t, "k").Incarnation
	b.apply(t, scoped(2, eventlog.Updated, "k", "7", -1), scoped(3, eventlog.Updated, "k", "9", 1))
	if r := b.row(t, "k"); !r.Deleted || r.Incarnation != before+1 {
		t.Errorf("%+v", r)
	}
}

func TestSelectionsAreTheSameOnlyBetweenTwoChanges(t *testing.T) {
	t.Parallel()
	s := Selection{Scopes: []string{"1"}, Generation: 1}
	for name, test := range map[string]struct {
		as   Selection
		same bool
	}{
		"the same":                         {Selection{Scopes: []string{"1"}, Generation: 1}, true},
		"changed, and changed back":        {Selection{Scopes: []string{"1"}, Generation: 3}, false},
		"of a home that failed over":       {Selection{Scopes: []string{"2"}, Generation: 1}, false},
		"of a home that failed over, all":  {Selection{Generation: 1}, false},
		"of a home that failed over, none": {Selection{Scopes: []string{}, Generation: 1}, false},
	} {
		if got := s.same(&test.as); got != test.same {
			t.Errorf("%s: %v", name, got)
		}
	}
	all, nothing := Selection{}, Selection{Scopes: []string{}}
	if all.same(&nothing) {
		t.Error("all is the same as nothing")
	}
}

// What the run that applies a selection has not come to yet goes with its next
// event.
func TestALiveRowOutsideGoesWithItsEvent(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]eventlog.Event{
		"changed": scoped(2, eventlog.Updated, "k", "9", 0), "deleted": scoped(2, eventlog.Deleted, "k", "9", -1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.create(t, 1, "k")
			b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{7}')", kind)
			b.apply(t, e)
			if r := b.row(t, "k"); !r.Deleted || r.EventID != 2 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A kind of which nothing is selected leaves no trace, also without scopes; other
// kinds go on.
func TestNothingOfAKind(t *testing.T) {
	t.Parallel()
	b := setupLimited(t)
	b.exec(t, "SELECT casq.define_kind('other', 'none')")
	other := event(2, eventlog.Created, "o", "{}")
	other.Kind = "other"
	b.apply(t, event(1, eventlog.Created, "k", "{}"), other)
	if got := b.oneText(t, "SELECT string_agg(kind, ' ') FROM casq.registry"); got != "other" {
		t.Errorf("there are rows of %q", got)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	for i := range 12 {
		b.put(t, fmt.Sprintf("k%02d", i), i%3)
	}
	b.exec(t, "INSERT INTO resources VALUES ('none', NULL)")
	b.tick(t)
	b.follow(t)
	if got := b.reconcile(t, Request{}); got != "resource: created 13" {
		t.Fatalf("at first: %s", got)
	}
	b.takeJobs(t)
	if got := b.applySelection(t, []string{"2", "1", "1", "77"}); got != "resource: removed 5" {
		t.Errorf("leaving 0 and what has none: %s", got)
	}
	b.wantHere(t, "k01 k02 k04 k05 k07 k08 k10 k11")
	jobs := b.takeJobs(t)
	if keysOf(jobs) != "k00, k03, k06, k09, none" || !jobs[0].Deleted || !b.row(t, "k00").Deleted {
		t.Errorf("jobs %v", jobs)
	}
	if run := b.selects(t, []string{"1", "2", "77"}); run != 0 {
		t.Errorf("the same selection is run %d", run)
	}
	if got := b.applySelection(t, []string{"0", "2"}); got != "resource: created 4 removed 4" {
		t.Errorf("1 for 0: %s", got)
	}
	b.wantHere(t, "k00 k02 k03 k05 k06 k08 k09 k11")
	if got := b.text(t, "SELECT scope_id FROM casq.registry WHERE resource_id = 'k00'"); got != "0" {
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

// Whoever looks at the source sees only what is selected.
func TestLooksSeeTheSelection(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	for i := range 6 {
		b.put(t, fmt.Sprintf("k%d", i), i%2)
	}
	now := b.tick(t)
	b.follow(t)
	b.know(t, "k0", 0, now, false)
	b.know(t, "k1", 1, now, false)
	b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)

	report := b.refetch(t, "k0", "k1", "k2", "k3", "never")
	if report != (RefetchReport{Copied: 2, Removed: 1, Unknown: 2}) {
		t.Errorf("look again: %+v", report)
	}
	b.wantHere(t, "k1 k3")
	if got := b.reconcile(t, Request{}); got != "resource: created 1" {
		t.Errorf("reconcile: %s", got)
	}
	b.wantHere(t, "k1 k3 k5")
	// Rows of lost ticks, a tombstone of what is not selected among them.
	b.exec(t, "UPDATE casq.registry SET tick = $1, payload = '{}' WHERE resource_id IN ('k0', 'k1')", now-1)
	b.know(t, "k4", 0, now-1, false)
	if got := b.reconcile(t, Request{Reason: Lost, Beyond: &Tick{Timeline: 1, ID: now - 2}, At: &Tick{Timeline: 1, ID: now}}); got != "resource: changed 3 removed 1" {
		t.Errorf("what came with lost ticks: %s", got)
	}
	b.wantHere(t, "k1 k3 k5")
	if _, err := ResyncKind(t.Context(), b.pool, b.queue, kind, ResyncOptions{}); err != nil {
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
	simple(t, b.pool, `SELECT casq.untrack('resources')`)
	b.know(t, "here", 0, now, false)
	b.know(t, "gone", 0, now, true)
	b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{}')", kind)
	if got := b.reconcile(t, Request{Reason: Pruned, At: &Tick{Timeline: 1, ID: now}}); got != "resource: removed 1" {
		t.Errorf("got %s", got)
	}
	b.know(t, "again", 0, now, false)
	if report := b.refetch(t, "again"); report != (RefetchReport{Removed: 1}) {
		t.Errorf("look again: %+v", report)
	}
	b.wantHere(t, "")
}

// That most of a kind leaves does not look like a wrong source; that most is not
// there at all does.
func TestLeavingIsNotHeldBack(t *testing.T) {
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

// What is in place and not selected is nobody's, or comes to be removed again.
func TestAWalkSeesTheSelection(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	for _, key := range []string{"orphan", "back"} {
		b.put(t, key, 2)
	}
	b.tick(t)
	b.follow(t)
	b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)
	b.exec(t, "UPDATE casq.registry SET synced_version = version WHERE resource_id = 'new'")
	got := b.reconcile(t, Request{Walk: true, RemoveOrphans: true}, b.configure(100))
	if want := "removed 1"; !strings.Contains(got, want) || !strings.Contains(got, "orphans_removed 2") {
		t.Errorf("got %q", got)
	}
	if r := b.row(t, "orphan"); !r.Deleted {
		t.Errorf("%+v", r)
	}
}

// A changed selection says nothing of what cannot be listed.
func TestASelectionLeavesWhatCannotBeListed(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	now := b.tick(t)
	b.follow(t)
	b.know(t, "k", 0, now, false)
	b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)
	simple(t, b.pool, `SELECT casq.untrack('resources')`)
	before := b.row(t, "k").Version
	if got := b.applySelection(t, nil); got != "resource: unlisted true" {
		t.Errorf("got %s", got)
	}
	if got := b.row(t, "k"); got.Deleted || got.Version != before {
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
	b.reconcile(t, Request{})
	b.applySelection(t, []string{"1"})
	simple(t, b.pool, `SELECT casq.untrack('resources')`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', payload_columns => ARRAY['v'])`)
	b.tick(t)
	b.follow(t)
	id := b.ask(t, Request{})
	b.round(t, b.reconciler(t))
	if got := b.text(t, "SELECT waiting FROM casq.reconcile_runs WHERE part_of = $1", id); !strings.Contains(got, "has no scope column any more") {
		t.Errorf("the kind waits for %q", got)
	}
	b.wantHere(t, "k")
}

// The run looks only at hosts that show what home had read, and what rows came
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
			b.exec(t, change)
			id := b.selects(t, []string{"2"})
			reconciler := b.reconciler(t)
			b.round(t, reconciler)
			if got := b.text(t, "SELECT coalesce(waiting, 'nothing') FROM casq.reconcile_runs WHERE id = $1", id); !strings.Contains(got, "behind") {
				t.Errorf("it waits for %s", got)
			}
			b.wantHere(t, "k")
			b.tick(t)
			b.exec(t, "UPDATE casq.cursors SET to_tick = 0, to_nonce = '00000000-0000-0000-0000-000000000000', page = 0")
			b.follow(t)
			b.exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
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
	b.exec(t, "UPDATE casq.cursors SET tick = 50")
	b.selects(t, []string{"1"})
	if got := b.text(t, "SELECT timeline || '/' || tick FROM casq.registry_floors"); got != "1/50" {
		t.Errorf("the floor is %s", got)
	}
	b.exec(t, "UPDATE casq.cursors SET tick = 40")
	b.selects(t, []string{"2"})
	if got := b.text(t, "SELECT timeline || '/' || tick FROM casq.registry_floors"); got != "1/50" {
		t.Errorf("the floor is %s", got)
	}
	b.exec(t, "UPDATE casq.cursors SET tick = 60")
	b.selects(t, []string{"3"})
	if got := b.text(t, "SELECT timeline || '/' || tick FROM casq.registry_floors"); got != "1/60" {
		t.Errorf("the floor is %s", got)
	}
}

func TestSelectRefuses(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	simple(t, b.pool, `CREATE TABLE plain (key text PRIMARY KEY)`, `SELECT casq.track('plain', kind => 'plain', transfer => 'none', key_column => 'key')`,
		`SELECT casq.define_kind('by_hand', 'none')`)
	for name, test := range map[string]struct {
		want Selection
		err  string
	}{
		"unknown":     {Selection{Kind: "thong", Scopes: []string{"1"}}, `unknown kind "thong"; known: by_hand, plain, resource`},
		"no table":    {Selection{Kind: "by_hand", Scopes: []string{}}, "no tracked table at the source"},
		"no scope":    {Selection{Kind: "plain", Scopes: []string{"1"}}, "no scope column"},
		"no number":   {Selection{Kind: kind, Scopes: []string{"1", "x"}}, "'x' is no scope"},
		"another way": {Selection{Kind: kind, Scopes: []string{"07"}}, "Write it as '7'"},
		"too large":   {Selection{Kind: kind, Scopes: []string{"77777777777"}}, "is no scope"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Select(t.Context(), b.pool, b.pool, test.want)
			if !errors.Is(err, ErrSelection) || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %v, want %s", err, test.err)
			}
		})
	}
	for _, want := range []Selection{{Kind: "plain", Scopes: []string{}}, {Kind: "by_hand"}, {Kind: kind, Scopes: []string{"-1"}}} {
		if _, err := Select(t.Context(), b.pool, b.pool, want); err != nil {
			t.Errorf("%+v: %v", want, err)
		}
	}
	all, err := Selections(t.Context(), b.pool)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v; %v", all, err)
	}
	plain, resources := all["plain"], all[kind]
	if !plain.Nothing() || plain.All() || resources.Nothing() || resources.Generation != 1 || resources.ChangedAt.IsZero() {
		t.Errorf("%+v", all)
	}
}

// casq.selected is what Selection.has is.
func TestSelectedInSQL(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seven, ten := "7", "10"
	for _, scopes := range [][]string{nil, {}, {"7"}, {"10", "7"}} {
		b.exec(t, "DELETE FROM casq.selections")
		b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, $2)", kind, scopes)
		s, err := readSelection(t.Context(), b.pool, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range []*string{nil, &seven, &ten} {
			var selected bool
			if err := b.pool.QueryRow(t.Context(), "SELECT casq.selected($1, $2)", kind, scope).Scan(&selected); err != nil || selected != s.has(scope) {
				t.Errorf("%v of %q: %v here, %v in SQL; %v", scope, scopes, s.has(scope), selected, err)
			}
		}
	}
	if got := b.oneText(t, "SELECT casq.selected('other', NULL)::text"); got != "true" {
		t.Errorf("a kind that was never limited: %s", got)
	}
}

func TestWhyNotSelected(t *testing.T) {
	t.Parallel()
	b := setupLimited(t, "7", "8")
	b.apply(t, scoped(1, eventlog.Created, "left", "7", 1), scoped(2, eventlog.Created, "here", "7", 1), scoped(3, eventlog.Created, "gone", "7", 1))
	b.apply(t, scoped(4, eventlog.Updated, "left", "7", -1), scoped(5, eventlog.Updated, "left", "9", 1), scoped(6, eventlog.Deleted, "gone", "7", -1))
	why := func(key string) string { return b.oneText(t, "SELECT casq.why($1, $2)", kind, key) }
	const only = "this site, which has only scope '7', '8' of the kind"
	for key, want := range map[string]string{
		"left": "; not selected on " + only + ", and not '9'", "never": "; if it is in another scope it is not selected on " + only,
		"here": "", "gone": "",
	} {
		got := why(key)
		if want != "" && !strings.Contains(got, want) || want == "" && strings.Contains(got, "selected") {
			t.Errorf("%s: %s; want %q", key, got, want)
		}
	}
	b.exec(t, "UPDATE casq.registry SET synced_version = version")
	if got := why("left"); !strings.Contains(got, "is removed") || !strings.Contains(got, "not selected on this site") {
		t.Errorf("removed: %s", got)
	}
	b.exec(t, "UPDATE casq.selections SET scopes = '{}'")
	for _, key := range []string{"never", "here"} {
		if got := why(key); !strings.Contains(got, "; not selected on this site, which has nothing of the kind") {
			t.Errorf("%s: %s", key, got)
		}
	}
	b.exec(t, "UPDATE casq.selections SET scopes = (SELECT array_agg(n::text) FROM generate_series(1, 13) AS n)")
	if got := why("never"); !strings.Contains(got, "'10' and 3 more of the kind") {
		t.Errorf("many: %s", got)
	}
}
