package recount

import (
	"errors"
	"maps"
	"math/rand/v2"
	"testing"

	"casq/counter/internal/tally"
	"casq/internal/database"
)

// text is n bytes that do not get smaller when they are compressed.
func text(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + rand.N(75))
	}
	return string(b)
}

// newLong has scopes that are texts, and a row whose scope is too long, which was
// there before the table was tracked.
func newLong(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t)
	for _, sql := range []string{
		"SELECT casq.untrack('artifacts')", "DROP TABLE artifacts",
		"CREATE TABLE artifacts (id bigint PRIMARY KEY, project text, size bigint)",
	} {
		b.Exec(t, sql)
	}
	b.Exec(t, "INSERT INTO artifacts VALUES (1, $1, 1), (2, 'a', 10), (3, 'b', 100)", text(5000))
	b.Track(t)
	return b
}

// quiesce brings all to an end. Counters are those of scopes that fit.
func quiesce(t *testing.T, b *testBundle) {
	t.Helper()
	b.recount(t, Request{Kind: "artifact", All: true})
	b.Feed(t)
	b.FlushAll(t)
	want := b.Real(t)
	maps.DeleteFunc(want, func(scope string, _ pair) bool { return len(scope) > tally.MaxScope })
	if got := b.Flushed(t); !maps.Equal(got, want) {
		t.Errorf("flushed %d scopes, want %d, or other values", len(got), len(want))
	}
}

// A scope is refused where it is written if it is longer than what counters take;
// a row that has one already may be changed, and go.
func TestScopesThatAreTooLong(t *testing.T) {
	t.Parallel()
	b := newLong(t)
	for name, sql := range map[string]string{
		"inserted": "INSERT INTO artifacts VALUES (4, $1, 1)",
		"moved":    "UPDATE artifacts SET project = $1 WHERE id = 2",
	} {
		if _, err := b.Pool.Exec(t.Context(), sql, text(1025)); database.Code(err) != "23514" {
			t.Errorf("%s: %v, want it to be refused", name, err)
		}
		if _, err := b.Pool.Exec(t.Context(), sql, text(1024)); err != nil {
			t.Errorf("%s, and as long as it may be: %v", name, err)
		}
	}
	quiesce(t, b)
	b.Exec(t, "UPDATE artifacts SET size = size + 1")
	quiesce(t, b)
	b.Exec(t, "UPDATE artifacts SET project = 'c' WHERE id = 1")
	b.Exec(t, "DELETE FROM artifacts WHERE id = 3")
	quiesce(t, b)
	if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{text(1025)}}); !errors.Is(err, ErrNoScope) {
		t.Errorf("a recount of one: %v, want %v", err, ErrNoScope)
	}
}

// An event that has one is in the log already. It counts under nothing, and holds
// nothing up, by whichever way.
func TestScopesThatWereTooLongAreSkipped(t *testing.T) {
	t.Parallel()
	for name, buffered := range map[string]bool{"redis": true, "without redis": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newLong(t)
			b.Exec(t, "ALTER TABLE casq.events DROP CONSTRAINT events_scope_id_length")
			b.Exec(t, `INSERT INTO casq.events (kind, resource_id, op, scope_id, size_delta, item_delta)
				VALUES ('artifact', '1', 'updated', $1, 5, 0)`, text(5000))
			b.Exec(t, "UPDATE artifacts SET size = size + 5 WHERE id = 2")
			b.Tick(t)
			b.FeedInto(t, buffered)
			b.FlushAll(t)
			if got := b.Flushed(t)["a"]; got != (pair{5, 0}) {
				t.Errorf("what came beside it: %v", got)
			}
			quiesce(t, b)
		})
	}
}
