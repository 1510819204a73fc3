package recount

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"casq/counter/internal/countertest"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// slow is a bundle whose table is locked from a scan's snapshot on, the first
// time, until the scan has given up; each part ends after one scope. Only that scan
// has a limit to exceed: none of the others is slow because the machine is.
type slow struct {
	*testBundle
	locked pgx.Tx
	once   bool
	steal  bool // the token of a scan that gives up
	// whenLocked is called when the table is locked, by another goroutine.
	whenLocked func()
	// whenSlow is called when a scan gives up.
	whenSlow func()
	// between is called when a part has summed up its scope, and before is when it
	// starts, with how many have.
	between, before func(n int)
	summed          int
}

func newSlow(t *testing.T) *slow {
	t.Helper()
	s := &slow{}
	s.testBundle = setup(t, func(c *settings) {
		c.SnapshotLimit, c.SideBySide = time.Hour, 1
		c.Hook = func(point string) { s.at(t, point) }
	})
	s.since = func(time.Time) time.Duration { return time.Hour }
	s.Exec(t, "CREATE INDEX ON artifacts (project)")
	return s
}

func (s *slow) at(t *testing.T, point string) {
	var err error
	switch {
	case point == "scan:snapshot" && !s.once:
		s.once, s.cfg.SnapshotLimit = true, 50*time.Millisecond
		if s.locked, err = s.Pool.Begin(t.Context()); err == nil {
			_, err = s.locked.Exec(t.Context(), "LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE")
		}
		if s.whenLocked != nil {
			go s.whenLocked()
		}
	case point == "scan:slow":
		s.cfg.SnapshotLimit = time.Hour
		if err = s.locked.Rollback(t.Context()); s.steal && err == nil {
			_, err = s.Pool.Exec(t.Context(), "UPDATE casq.scans SET token = gen_random_uuid()")
		}
		if s.whenSlow != nil {
			s.whenSlow()
		}
	case point == "scan:started" && s.before != nil:
		s.before(s.summed)
	case point == "scan:summed":
		s.summed++
		if s.between != nil {
			s.between(s.summed)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// wrong makes 20 artifacts in each of 6 projects, and all counters wrong; 98 and 99
// have one although there are no rows, "x" is no project at all.
func (s *slow) wrong(t *testing.T) {
	t.Helper()
	s.Exec(t, "INSERT INTO artifacts SELECT n, n % 6, n FROM generate_series(1, 120) AS n")
	s.Exec(t, "INSERT INTO artifacts VALUES (1000, 98, 5), (1001, 99, 6), (1002, NULL, 7)")
	s.Feed(t)
	s.FlushAll(t)
	s.Exec(t, "DELETE FROM artifacts WHERE project > 90")
	s.Feed(t)
	s.FlushAll(t)
	s.Exec(t, "INSERT INTO casq.counters (kind, scope_id, shard) VALUES ('artifact', 'x', $1)", countertest.ShardOf("x", 4))
	s.Exec(t, "UPDATE casq.counters SET size = size + 1000, items = items + 10")
	s.Exec(t, "UPDATE casq.counter_kinds SET complete = false")
}

func (s *slow) same(t *testing.T) {
	t.Helper()
	s.Feed(t)
	s.FlushAll(t)
	if got, want := s.Flushed(t), s.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}

func (s *slow) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := s.Pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A recount of all scopes that takes too long goes on in parts, each with a snapshot
// of its own. What comes between them, into scopes that were counted, are being
// counted or will be, is right in the end; so are counters without rows.
func TestRecountInParts(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.between = func(n int) {
		for _, sql := range []string{
			"INSERT INTO artifacts SELECT 2000 + 10 * $1 + n, n % 6, 1 FROM generate_series(0, 5) AS n",
			"UPDATE artifacts SET size = size + 1 WHERE id % 7 = $1",
			"UPDATE artifacts SET project = (project + 1) % 6 WHERE id % 11 = $1",
			"UPDATE artifacts SET project = (project + 5) % 6 WHERE id % 13 = $1",
			"DELETE FROM artifacts WHERE id % 17 = $1",
			// A scope that is new, behind or before what was counted; one that ends.
			"INSERT INTO artifacts VALUES (5000 + $1::integer, CASE WHEN $1::integer % 2 = 0 THEN -$1::integer ELSE 100 + $1::integer END, 3)",
			"DELETE FROM artifacts WHERE project = 5 AND $1::integer = 3",
		} {
			s.Exec(t, sql, n)
		}
		s.Tick(t)
		if n%2 == 0 {
			s.Feed(t)
			s.FlushAll(t)
		}
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	if s.locked == nil || s.count(t, "SELECT count(*) FROM casq.scans WHERE in_parts") != 1 {
		t.Fatal("it did not go on in parts")
	}
	s.same(t)
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE part = 'table'"); n < 6 {
		t.Errorf("%d parts of the table, want one for each scope", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE state <> 'done'"); n > 0 {
		t.Errorf("%d recounts are not done", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
		t.Errorf("%d scans are not over", n)
	}
	if n := s.count(t, "SELECT count(*) - count(DISTINCT scope_id) FROM casq.refreshes WHERE scope_id IS NOT NULL"); n > 0 {
		t.Errorf("%d scopes were counted more than once", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE drift_size = 1000 AND drift_items = 10 OR drift_size = -1000 AND drift_items = -10"); n < 9 {
		t.Errorf("%d certificates tell what was wrong, want one for each counter there was", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.counter_kinds WHERE complete"); n != 1 {
		t.Error("the kind is not complete")
	}
}

// A list of scopes that takes too long is halved, and a single scope takes what it
// takes.
func TestRecountOfAListInParts(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.recount(t, Request{Kind: "artifact", Scopes: []string{"", "0", "1", "2", "3", "4", "5", "98", "99", "x"}})
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NOT NULL AND scanned_at IS NOT NULL"); n != 2 {
		t.Errorf("%d scans, want two", n)
	}
	s.same(t)
	s.Exec(t, "UPDATE casq.counters SET size = size + 1 WHERE scope_id = '3'")
	released := make(chan struct{})
	s.once, s.whenLocked = false, func() { // somebody else sees that the limit is over
		defer close(released)
		for s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
			AND query LIKE '%sum_by_scope%' AND clock_timestamp() - query_start > '200 ms'`) == 0 {
			runtime.Gosched()
		}
		if err := s.locked.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
	s.recount(t, Request{Kind: "artifact", Scopes: []string{"3"}})
	<-released
	s.same(t)
}

// The table is tracked anew between two parts: what was not in the log meanwhile
// may be of any scope, so all is counted again.
func TestRecountInPartsOfATableTrackedAnew(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.before = func(n int) {
		if n == 3 {
			s.summed++ // once
			s.Exec(t, "SELECT casq.untrack('artifacts')")
			s.Exec(t, "UPDATE artifacts SET size = size + 7")
			s.Track(t)
		}
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	s.same(t)
	if n := s.count(t, "SELECT count(*) FROM casq.counter_kinds WHERE complete"); n != 1 {
		t.Error("the kind is not complete")
	}
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
		t.Errorf("%d scans are not over", n)
	}
}

// Whatever ends a recount in parts early ends all of it, and nothing waits for it.
func TestRecountInPartsEndsEarly(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*slow, *testing.T){
		"cancelled": func(s *slow, t *testing.T) {
			refresh := s.count(t, "SELECT id FROM casq.refreshes WHERE scope_id IS NULL")
			if err := s.Cancel(t.Context(), int64(refresh)); err != nil {
				t.Error(err)
			}
		},
		"failed": func(s *slow, t *testing.T) {
			part := s.count(t, "SELECT max(id) FROM casq.scans WHERE part IS NOT NULL")
			if err := s.Fail(t.Context(), int64(part), errors.New("no luck")); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSlow(t)
			s.wrong(t)
			s.between = func(n int) {
				if n == 3 {
					end(s, t)
				}
			}
			s.recount(t, Request{Kind: "artifact", All: true})
			if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
				t.Fatalf("%d scans are not over", n)
			}
			if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE part IS NOT NULL AND scanned_at IS NOT NULL"); n != 2 {
				t.Errorf("%d parts were scanned to their end, want two", n)
			}
			if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE state = $1 AND scope_id IS NULL", name); n != 1 {
				t.Errorf("the recount is not %s", name)
			}
			if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE state NOT IN ('done', $1)", name); n > 0 {
				t.Errorf("%d recounts are still open", n)
			}
			s.between = nil
			s.recount(t, Request{Kind: "artifact", All: true})
			s.same(t)
		})
	}
}

// Events that a part's snapshot has seen may not be in Postgres when the part has
// nothing to swap in. They are, before the rest is looked for.
func TestRestIsLookedForBehindTheSnapshots(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.Exec(t, "SELECT casq.untrack('artifacts')")
	s.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10), (2, 2, 20), (50, 50, 500)")
	s.Track(t)
	s.Feed(t)
	s.before = func(n int) {
		if n == 2 { // what is beyond 2 was never counted
			s.Exec(t, "DELETE FROM artifacts WHERE project = 50")
			s.Tick(t)
		}
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	s.same(t)
}

// The rest may take too long as well; the recount is over when both halves are.
func TestRestInHalves(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.between = func(n int) { s.once = n != 7 } // six projects, and what comes after them
	s.recount(t, Request{Kind: "artifact", All: true})
	s.same(t)
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE part = 'list'"); n != 1 {
		t.Fatalf("the rest was halved %d times", n)
	}
	if n := s.count(t, `SELECT count(*) FROM casq.scans AS w JOIN casq.scans AS p ON p.part_of = w.id
		WHERE w.finished_at IS NULL OR p.finished_at > w.finished_at`); n > 0 {
		t.Errorf("%d parts ended after the recount", n)
	}
}

// A run that has lost its token to another one divides nothing.
func TestDividedWithoutItsToken(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Request{"all": {All: true}, "list": {Scopes: []string{"1", "2", "3"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSlow(t)
			s.wrong(t)
			s.steal = true
			r.Kind = "artifact"
			scan, _, err := s.Refresh(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Scan(t.Context(), scan, 1, s.process); !errors.Is(err, ErrSuperseded) {
				t.Errorf("it ended with %v", err)
			}
			if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE part IS NOT NULL OR in_parts OR token IS NULL"); n > 0 {
				t.Error("it was divided")
			}
		})
	}
}

// A later recount of a scope waits for an earlier one also when that was divided.
func TestRecountWaitsForHalves(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	ask := func(scopes ...string) int64 {
		id, _, err := s.Refresh(t.Context(), Request{Kind: "artifact", Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	scan := func(id int64, want error) {
		t.Helper()
		if err := s.Scan(t.Context(), id, 1, s.process); !errors.Is(err, want) {
			t.Fatalf("scan: %v, want %v", err, want)
		}
		_, finalizes := s.queue.take()
		for _, f := range finalizes {
			if err := s.Finalize(t.Context(), f, 2); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, second := ask("0", "1"), ask("1")
	scan(first, ErrBusy) // it was divided
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE token IS NOT NULL"); n > 0 {
		t.Error("no other process may go on with it")
	}
	half := int64(s.count(t, "SELECT id FROM casq.scans WHERE part = 'list'"))
	scan(first, nil)
	scan(second, ErrBusy)
	scan(half, nil)
	scan(second, nil)
	scan(second, ErrSuperseded)
}

// A part's run dies when it has stored what it found. The next one finds less: what
// the first one has stored is nothing that it has seen.
func TestPartIsScannedAgain(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.between = func(n int) {
		if n != 2 {
			return
		}
		part := s.count(t, "SELECT max(id) FROM casq.scans")
		s.Exec(t, "UPDATE casq.scans SET token = gen_random_uuid() WHERE id = $1", part)
		s.Exec(t, "DELETE FROM artifacts WHERE project = 1")
		s.Tick(t)
		if _, err := s.queue.Scan(t.Context(), nil, int64(part)); err != nil {
			t.Error(err)
		}
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	s.same(t)
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE scope_id = '1'"); n != 1 {
		t.Errorf("the scope was counted %d times", n)
	}
}

// A scope that is cancelled out of a part does not keep the rest from its turn.
func TestScopeCancelledOutOfAPart(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.between = func(n int) {
		var ids []int64
		err := s.Pool.QueryRow(t.Context(), "SELECT array_agg(r.id) FROM casq.refreshes AS r JOIN casq.scans AS s ON s.id = r.scan WHERE r.finished_at IS NULL AND r.scope_id IS NOT NULL AND (s.part = 'rest' OR $1 = 2)", n).Scan(&ids)
		if err != nil {
			t.Error(err)
		}
		for _, id := range ids {
			if err := s.Cancel(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
		t.Errorf("%d scans are not over", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE state = 'cancelled'"); n != 4 {
		t.Errorf("%d recounts are cancelled, want the second project and three of the rest", n)
	}
}

// While a recount in parts is under way, another one waits, and its jobs may come
// again and late.
func TestJobsOfPartsComeAgain(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	whole, _, err := s.Refresh(t.Context(), Request{Kind: "artifact", All: true})
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := s.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"1"}})
	if err != nil {
		t.Fatal(err)
	}
	var all []Finalize
	s.between = func(int) {
		if err := s.Scan(t.Context(), other, 1, s.process); !errors.Is(err, ErrBusy) {
			t.Errorf("the second recount: %v", err)
		}
		if err := s.Scan(t.Context(), whole, 1, s.process); !errors.Is(err, ErrSuperseded) {
			t.Errorf("the recount itself, again: %v", err)
		}
		for _, f := range all {
			if err := s.Finalize(t.Context(), f, 2); !errors.Is(err, ErrSuperseded) {
				t.Errorf("a swap, again: %v", err)
			}
		}
	}
	s.queue.take()
	s.queue.scans = []int64{whole}
	for len(s.queue.scans) > 0 {
		scans, _ := s.queue.take()
		for _, id := range scans {
			if err := s.Scan(t.Context(), id, 1, s.process); err != nil {
				t.Fatal(err)
			}
		}
		scans, finalizes := s.queue.take()
		s.queue.scans = scans
		for _, f := range finalizes {
			if err := s.Finalize(t.Context(), f, 2); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, finalizes...)
	}
	s.between = nil
	s.queue.scans = append(s.queue.scans, other)
	s.work(t)
	s.same(t)
}

// What can be divided by scope, and what not.
func TestScopeIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for index, want := range map[string]bool{
		"":                                 false,
		"artifacts (project)":              true,
		"artifacts (project, id)":          true,
		"artifacts (id, project)":          false,
		"artifacts (project) WHERE id > 5": false,
		"artifacts USING hash (project)":   false,
		"artifacts ((project + 1))":        false,
	} {
		if index != "" {
			b.Exec(t, "CREATE INDEX of_a_test ON "+index)
		}
		var got bool
		if err := b.Pool.QueryRow(t.Context(), "SELECT casq.has_scope_index('artifact')").Scan(&got); err != nil || got != want {
			t.Errorf("with an index on %s: %v, %v, want %v", index, got, err, want)
		}
		b.Exec(t, "DROP INDEX IF EXISTS of_a_test")
	}
}

// An index whose order is not that of the column's < finds no part of the table.
func TestScopeIndexOfAnotherOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "CREATE TABLE resources (id integer PRIMARY KEY, scope text)")
	b.Exec(t, "SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'scope')")
	for index, want := range map[string]bool{
		"resources (scope)":                   true,
		"resources (scope DESC NULLS LAST)":   true,
		`resources (scope COLLATE "C")`:       false,
		"resources (scope text_pattern_ops)":  false,
		"resources (scope, id) INCLUDE (id)":  true,
		"resources (id) INCLUDE (scope)":      false,
		"resources (lower(scope), scope, id)": false,
	} {
		b.Exec(t, "CREATE INDEX of_a_test ON "+index)
		var got bool
		if err := b.Pool.QueryRow(t.Context(), "SELECT casq.has_scope_index('resource')").Scan(&got); err != nil || got != want {
			t.Errorf("with an index on %s: %v, %v, want %v", index, got, err, want)
		}
		b.Exec(t, "DROP INDEX of_a_test")
	}
}

// Slices of a table together are the whole table, in the order of the column.
func TestSumBeyond(t *testing.T) {
	long.Test(t)
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := setup(t)
	b.Exec(t, "CREATE COLLATION ignores_case (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)")
	for _, c := range []struct{ column, value string }{
		{"bigint", "n % 17 - 5"},
		{"bigint", "CASE WHEN n % 3 > 0 THEN n % 7 - 3 END"},
		{"bigint", "NULL::bigint"},
		{"text", "chr(65 + n % 10) || chr(100 - n % 7)"},
		{"text", "CASE WHEN n % 3 > 0 THEN repeat('x', n % 4) END"},
		{"text COLLATE ignores_case", "CASE WHEN n % 2 = 0 THEN chr(65 + n % 11) ELSE chr(97 + n % 11) END"},
		{"uuid", "md5((n % 13)::text)::uuid"},
		{"char(3)", "(n % 13)::text"},
	} {
		b.Exec(t, "CREATE TABLE resources (id integer, scope "+c.column+", size bigint, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
		b.Exec(t, "CREATE TABLE resources_1 PARTITION OF resources FOR VALUES FROM (0) TO (50)")
		b.Exec(t, "CREATE TABLE resources_2 PARTITION OF resources FOR VALUES FROM (50) TO (1000)")
		b.Exec(t, "INSERT INTO resources SELECT n, "+c.value+", n FROM generate_series(1, 100) AS n")
		b.Exec(t, "SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'scope', size_column => 'size')")
		want := b.Texts(t, `SELECT coalesce(scope::text COLLATE "C", '') COLLATE "C", sum(size) || ' in ' || count(*) FROM resources GROUP BY 1`)
		if got := b.Texts(t, "SELECT scope_id, size || ' in ' || items FROM casq.sum_by_scope('resource', NULL)"); !maps.Equal(got, want) {
			t.Errorf("%s as %s: %v, want %v", c.column, c.value, got, want)
		}
		for scope, sum := range want {
			if got := b.Texts(t, "SELECT scope_id, size || ' in ' || items FROM casq.sum_by_scope('resource', ARRAY['"+scope+"'])"); got[scope] != sum {
				t.Errorf("%s as %s: scope %q is %v, want %s", c.column, c.value, scope, got, sum)
			}
		}
		for _, slice := range []int{1, 3, 1000} {
			got := make(map[string]string)
			var after *string
			for more := true; more; {
				rows, err := b.Pool.Query(t.Context(), "SELECT scope_id, size || ' in ' || items FROM casq.sum_beyond('resource', $1, $2)", after, slice)
				if err != nil {
					t.Fatal(err)
				}
				var scope, sum string
				n := 0
				_, err = pgx.ForEachRow(rows, []any{&scope, &sum}, func() error {
					if _, twice := got[scope]; twice {
						return fmt.Errorf("scope %q comes twice", scope)
					}
					got[scope], n = sum, n+1
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				last := scope
				after, more = &last, n >= slice
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s as %s by %d: %v, want %v", c.column, c.value, slice, got, want)
			}
		}
		b.Exec(t, "SELECT casq.untrack('resources')")
		b.Exec(t, "DROP TABLE resources")
	}
}

// The counters that no part has found are looked for in several transactions, if
// they are many: each that has taken too long is followed by another one.
func TestRestIsLookedForBitByBit(t *testing.T) {
	t.Parallel()
	s := newSlow(t)
	s.once = true // nothing is slow but this
	const projects = 2*scanPage + 10
	// The first of each page, and some, were counted by one part, as it happens.
	s.Exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick, in_parts, generation)
		SELECT 'artifact', true, false, t.timeline, t.id, true, 1 FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1`)
	s.Exec(t, "INSERT INTO casq.refreshes (scan, kind) SELECT id, 'artifact' FROM casq.scans")
	s.Exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick, part, part_of, finished_at)
		SELECT kind, false, compare, floor_timeline, floor_tick, 'table', id, now() FROM casq.scans`)
	scopes, shards := []string{""}, []int{countertest.ShardOf("", 4)}
	for i := range projects - 1 {
		scopes = append(scopes, fmt.Sprint(i))
		shards = append(shards, countertest.ShardOf(scopes[i+1], 4))
	}
	s.Exec(t, `INSERT INTO casq.counters (kind, scope_id, shard, size)
		SELECT 'artifact', scope, shard, 1 FROM unnest($1::text[], $2::integer[]) AS w (scope, shard)`, scopes, shards)
	s.Exec(t, `INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, finished_at, new_size)
		SELECT max(s.id), 'artifact', c.scope_id, c.shard, 'done', now(), 1
		FROM casq.scans AS s, casq.counters AS c WHERE c.scope_id NOT IN ('', '9999') GROUP BY c.scope_id, c.shard`)
	s.Exec(t, "UPDATE casq.counters AS c SET refresh = r.id FROM casq.refreshes AS r WHERE r.scope_id = c.scope_id AND c.scope_id LIKE '%0'")
	whole, part := int64(1), partOfTable
	err := pgx.BeginFunc(t.Context(), s.Pool, func(tx pgx.Tx) error {
		return s.goOn(t.Context(), tx, over{recount: &whole, part: &part}, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.work(t)
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
		t.Errorf("%d scans are not over", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE part = 'rest'"); n != 3 {
		t.Errorf("the rest were %d parts, want three", n)
	}
	if got := s.Texts(t, "SELECT scope_id, state FROM casq.refreshes WHERE scan > 2"); !maps.Equal(got, map[string]string{"": "done", "9999": "done"}) {
		t.Errorf("the rest were %v", got)
	}
}
