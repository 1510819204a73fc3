package recount

import (
	"errors"
	"maps"
	"math/big"
	"testing"

	"casq/counter"
)

// Sizes that are NULL, negative, or as large as there are, whose sums are larger
// still: counters and recounts say what sum(size) says.
func TestSizes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, `INSERT INTO artifacts SELECT n, CASE WHEN n % 5 < 4 THEN n % 5 END,
		(ARRAY[NULL, -1000, 9223372036854775807, 0])[n % 5 + 1] FROM generate_series(1, 100) AS n`)
	b.compare(t)
	b.Exec(t, "UPDATE artifacts SET size = 9223372036854775807 WHERE id < 30 AND size IS NULL")
	b.Exec(t, "UPDATE artifacts SET size = NULL WHERE id > 70")
	b.Exec(t, "UPDATE artifacts SET project = 2 WHERE project IS NULL")
	b.compare(t)
	b.recount(t, Request{Kind: "artifact", All: true})
	b.recount(t, Request{Kind: "artifact", Scopes: []string{"2"}})
	b.compare(t)
	var drift int
	err := b.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.refreshes WHERE drift_size <> 0 OR drift_items <> 0 OR state <> 'done'").Scan(&drift)
	if err != nil || drift > 0 {
		t.Errorf("%d recounts that differ or failed, %v", drift, err)
	}
}

// compare wants the live values and the flushed ones to be what the table says.
func (b *testBundle) compare(t *testing.T) {
	t.Helper()
	b.Feed(t)
	want := b.Texts(t, "SELECT coalesce(project::text, ''), coalesce(sum(size), 0)::text FROM artifacts GROUP BY 1")
	for scope, size := range want {
		v, err := b.Get(t.Context(), counter.Key{Kind: "artifact", ScopeID: scope})
		wanted, _ := new(big.Int).SetString(size, 10)
		if err != nil || v.Size.Cmp(wanted) != 0 || !v.Live {
			t.Errorf("scope %s: live %s, %v, want %s", scope, v.Size, err, size)
		}
	}
	b.FlushAll(t)
	if got := b.Texts(t, "SELECT scope_id, size::text FROM casq.statistics WHERE items > 0"); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

// Scopes of other types, and resources without a size.
func TestScopes(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"uuid", "text", "varchar(64)", "integer"} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Exec(t, "CREATE TABLE resources (id bigint PRIMARY KEY, scope "+column+")")
			b.Exec(t, "SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'scope')")
			scope := "7"
			if column == "uuid" {
				scope = "0197c2a0-0000-7000-8000-000000000007"
			}
			b.Exec(t, "INSERT INTO resources SELECT n, CASE WHEN n > 3 THEN '"+scope+"'::"+column+" END FROM generate_series(1, 10) AS n")
			b.Feed(t)
			b.FlushAll(t)
			b.recount(t, Request{Kind: "resource", Scopes: []string{scope, ""}})
			b.recount(t, Request{Kind: "resource", All: true})
			got := b.Texts(t, "SELECT scope_id, size || ' in ' || items || ' ' || exact FROM casq.statistics WHERE kind = 'resource'")
			if want := map[string]string{scope: "0 in 7 true", "": "0 in 3 true"}; !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			for _, unknown := range []string{"8", "seven", " 7"} {
				if _, _, err := b.Refresh(t.Context(), Request{Kind: "resource", Scopes: []string{unknown}}); !errors.Is(err, ErrNoScope) {
					t.Errorf("recount of scope %q: %v", unknown, err)
				}
			}
		})
	}
}

// A scope is what its column writes, also when another text is equal to it.
func TestScopesThatAreEqual(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "CREATE COLLATION ignores_case (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)")
	for _, c := range []struct {
		column, rows, ask string
		want              map[string]string
	}{
		{"text COLLATE ignores_case", "('a'), ('a'), ('A')", "a", map[string]string{"a": "2", "A": "1"}},
		{"bigint", "(7), (7)", "07", map[string]string{"7": "2"}},
		{"char(3)", "('a'), ('a'), ('b')", "a", map[string]string{"a": "2"}},
		{"text", "('a'), ('a'), ('A')", "a", map[string]string{"a": "2"}},
		{"bigint", "(7), (7), (8)", "7", map[string]string{"7": "2"}},
		{"bigint", "(8)", "7", map[string]string{}},
	} {
		b.Exec(t, "CREATE TABLE resources (scope "+c.column+", id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
		b.Exec(t, "INSERT INTO resources VALUES "+c.rows)
		b.Exec(t, "SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'scope')")
		got := b.Texts(t, "SELECT scope_id, items::text FROM casq.sum_by_scope('resource', ARRAY['"+c.ask+"'])")
		if !maps.Equal(got, c.want) {
			t.Errorf("%s of %s, asked for %s: %v, want %v", c.column, c.rows, c.ask, got, c.want)
		}
		b.Exec(t, "SELECT casq.untrack('resources')")
		b.Exec(t, "DROP TABLE resources")
	}
}

// Whatever a recount is at when its table is not tracked any more, it fails with
// the reason, and the counter stays.
func TestUntracked(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"created", "running", "finalizing"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			var b *testBundle
			untrack := func() { b.Exec(t, "SELECT casq.untrack('artifacts')") }
			b = setup(t, func(c *settings) {
				c.Hook = func(point string) {
					if state == "running" && point == "scan:started" {
						untrack()
					}
				}
			})
			b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10)")
			b.Feed(t)
			b.FlushAll(t)
			if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", All: true}); err != nil {
				t.Fatal(err)
			}
			if state == "created" {
				untrack()
			}
			scans, _ := b.queue.take()
			if err := b.Scan(t.Context(), scans[0], 1, b.process); err != nil && !errors.Is(err, ErrSuperseded) {
				t.Fatal(err)
			}
			if state == "finalizing" {
				untrack()
			}
			b.work(t)
			var ended, reason string
			err := b.Pool.QueryRow(t.Context(), "SELECT state, coalesce(reason, '') FROM casq.refreshes WHERE scope_id IS NULL").Scan(&ended, &reason)
			if err != nil || ended != "failed" || reason == "" {
				t.Errorf("the recount is %s, %q, %v", ended, reason, err)
			}
			if got := b.Flushed(t); got["1"] != (pair{10, 1}) {
				t.Errorf("counted %v", got)
			}
			if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", All: true}); !errors.Is(err, ErrNotCounted) {
				t.Errorf("another recount: %v", err)
			}
		})
	}
}

// Some counters are compared with their table now and then, once they have been
// counted for a while.
func TestSample(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(1, 40) AS n")
	b.Feed(t)
	b.FlushAll(t)
	sampled := func() int {
		if err := b.checkSome(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		return len(b.queue.scans)
	}
	if n := sampled(); n != 0 {
		t.Errorf("%d comparisons at once", n)
	}
	b.Exec(t, "UPDATE casq.counter_kinds SET since = since - interval '2 hours'")
	b.Exec(t, "UPDATE casq.counters SET size = size + 1")
	if n := sampled(); n != 1 {
		t.Fatalf("%d comparisons, want one", n)
	}
	b.work(t)
	if n := sampled(); n != 0 {
		t.Errorf("%d comparisons within the hour", n)
	}
	var differ, swapped int
	err := b.Pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE drift_size = -1 AND state = 'done'),
		(SELECT count(*) FROM casq.counters WHERE size <> 11) FROM casq.refreshes`).Scan(&differ, &swapped)
	if err != nil || differ == 0 || swapped > 0 {
		t.Errorf("%d differences were found, %d counters were swapped, %v", differ, swapped, err)
	}
	// The site says so until all were recounted.
	differs := func() (is bool) {
		if err := b.Pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM casq.health() WHERE what LIKE '%differ from their table%')").Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if !differs() {
		t.Error("the site does not say that counters differ")
	}
	b.recount(t, Request{Kind: "artifact", All: true})
	if differs() {
		t.Error("the site says that counters differ which were recounted")
	}
}
