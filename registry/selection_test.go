package registry_test

import (
	"slices"
	"strings"
	"testing"

	"casq/eventlog"
	"casq/registry"
)

// limited is a home in which only scopes of the kind are selected.
func setupLimited(t *testing.T, scopes ...string) *testBundle {
	t.Helper()
	b := setup(t)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, $2)", kind, append([]string{}, scopes...))
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
			var jobs []registry.Job
			for _, batch := range test.batches {
				b.Apply(t, batch...)
				jobs = b.TakeJobs(t)
			}
			got := b.Text(t, `SELECT coalesce(max(format('%s in %s at %s', CASE WHEN deleted_at IS NULL THEN 'live' ELSE 'gone' END,
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

// What leaves is another resource when it comes back: a copy that is under way may
// not be published for it.
func TestLeavingEndsTheIncarnation(t *testing.T) {
	t.Parallel()
	b := setupLimited(t, "7")
	b.Apply(t, scoped(1, eventlog.Created, "k", "7", 1))
	before := b.Row(t, "k").Incarnation
	b.Apply(t, scoped(2, eventlog.Updated, "k", "7", -1), scoped(3, eventlog.Updated, "k", "9", 1))
	if r := b.Row(t, "k"); !r.Deleted || r.Incarnation != before+1 {
		t.Errorf("%+v", r)
	}
}

func TestSelectionsAreTheSameOnlyBetweenTwoChanges(t *testing.T) {
	t.Parallel()
	s := registry.Selection{Scopes: []string{"1"}, Generation: 1}
	for name, test := range map[string]struct {
		as   registry.Selection
		same bool
	}{
		"the same":                         {registry.Selection{Scopes: []string{"1"}, Generation: 1}, true},
		"changed, and changed back":        {registry.Selection{Scopes: []string{"1"}, Generation: 3}, false},
		"of a home that failed over":       {registry.Selection{Scopes: []string{"2"}, Generation: 1}, false},
		"of a home that failed over, all":  {registry.Selection{Generation: 1}, false},
		"of a home that failed over, none": {registry.Selection{Scopes: []string{}, Generation: 1}, false},
	} {
		if got := s.Same(&test.as); got != test.same {
			t.Errorf("%s: %v", name, got)
		}
	}
	all, nothing := registry.Selection{}, registry.Selection{Scopes: []string{}}
	if all.Same(&nothing) {
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
			b.Create(t, 1, "k")
			b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{7}')", kind)
			b.Apply(t, e)
			if r := b.Row(t, "k"); !r.Deleted || r.EventID != 2 {
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
	b.Exec(t, "SELECT casq.define_kind('other', 'none')")
	other := event(2, eventlog.Created, "o", "{}")
	other.Kind = "other"
	b.Apply(t, event(1, eventlog.Created, "k", "{}"), other)
	if got := b.Text(t, "SELECT string_agg(kind, ' ') FROM casq.registry"); got != "other" {
		t.Errorf("there are rows of %q", got)
	}
}

// casq.selected is what Selection.has is.
func TestSelectedInSQL(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seven, ten := "7", "10"
	for _, scopes := range [][]string{nil, {}, {"7"}, {"10", "7"}} {
		b.Exec(t, "DELETE FROM casq.selections")
		b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, $2)", kind, scopes)
		s, err := registry.ReadSelection(t.Context(), b.Pool, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range []*string{nil, &seven, &ten} {
			var selected bool
			if err := b.Pool.QueryRow(t.Context(), "SELECT casq.selected($1, $2)", kind, scope).Scan(&selected); err != nil || selected != s.Has(scope) {
				t.Errorf("%v of %q: %v here, %v in SQL; %v", scope, scopes, s.Has(scope), selected, err)
			}
		}
	}
	if got := b.Text(t, "SELECT casq.selected('other', NULL)::text"); got != "true" {
		t.Errorf("a kind that was never limited: %s", got)
	}
}

func TestWhyNotSelected(t *testing.T) {
	t.Parallel()
	b := setupLimited(t, "7", "8")
	b.Apply(t, scoped(1, eventlog.Created, "left", "7", 1), scoped(2, eventlog.Created, "here", "7", 1), scoped(3, eventlog.Created, "gone", "7", 1))
	b.Apply(t, scoped(4, eventlog.Updated, "left", "7", -1), scoped(5, eventlog.Updated, "left", "9", 1), scoped(6, eventlog.Deleted, "gone", "7", -1))
	why := func(key string) string { return b.Text(t, "SELECT casq.why($1, $2)", kind, key) }
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
	b.Exec(t, "UPDATE casq.registry SET synced_version = version")
	if got := why("left"); !strings.Contains(got, "is removed") || !strings.Contains(got, "not selected on this site") {
		t.Errorf("removed: %s", got)
	}
	b.Exec(t, "UPDATE casq.selections SET scopes = '{}'")
	for _, key := range []string{"never", "here"} {
		if got := why(key); !strings.Contains(got, "; not selected on this site, which has nothing of the kind") {
			t.Errorf("%s: %s", key, got)
		}
	}
	b.Exec(t, "UPDATE casq.selections SET scopes = (SELECT array_agg(n::text) FROM generate_series(1, 13) AS n)")
	if got := why("never"); !strings.Contains(got, "'10' and 3 more of the kind") {
		t.Errorf("many: %s", got)
	}
}
