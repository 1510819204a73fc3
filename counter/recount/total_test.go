package recount

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"casq/counter"
	"casq/internal/testing/testdb"
)

// namespaces is a bundle whose scopes are grouped by a table of projects.
func namespaces(t *testing.T, change ...func(*settings)) *testBundle {
	t.Helper()
	b := setup(t, change...)
	b.exec(t, "CREATE TABLE projects (id bigint PRIMARY KEY, namespace_id integer)")
	b.group(t, "projects")
	return b
}

func (b *testBundle) group(t *testing.T, table string) {
	t.Helper()
	b.exec(t, "SELECT casq.group_scopes('artifact', parents => $1::text::regclass, scope_column => 'id', parent_column => 'namespace_id')", table)
}

// joined is what the tables say of each namespace with a project, and of all
// that belongs to none.
func (b *testBundle) joined(t *testing.T) map[string]pair {
	t.Helper()
	all := b.sums(t, `SELECT p.namespace_id::text, coalesce(sum(a.size), 0)::bigint, count(a.id)
		FROM projects AS p LEFT JOIN artifacts AS a ON a.project = p.id WHERE p.namespace_id IS NOT NULL GROUP BY 1`)
	maps.Copy(all, b.sums(t, `SELECT 'none', sum(a.size)::bigint, count(*) FROM artifacts AS a LEFT JOIN projects AS p ON p.id = a.project
		WHERE p.namespace_id IS NULL AND a.project IS NOT NULL HAVING count(*) > 0`))
	return all
}

func (b *testBundle) totals(t *testing.T) map[string]pair {
	t.Helper()
	return b.sums(t, "SELECT coalesce(parent_id, 'none'), size::bigint, items FROM casq.totals('artifact')")
}

func (b *testBundle) liveTotal(t *testing.T, parent string) pair {
	t.Helper()
	v, err := b.Total(t.Context(), "artifact", parent)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Live || !v.Exact {
		t.Errorf("namespace %s: live %t, exact %t", parent, v.Live, v.Exact)
	}
	return pair{v.Size.Int64(), v.Items}
}

// Whatever changes, totals are what a join of the two tables says: live, before
// anything is flushed, and in SQL afterwards. A project that moves changes two of
// them at once.
func TestTotalsFollowArtifactsAndProjects(t *testing.T) {
	t.Parallel()
	b := namespaces(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b.exec(t, "INSERT INTO projects SELECT n, nullif(n % 5, 0) FROM generate_series(1, 30) AS n")
	id := 0
	for range 12 {
		if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", All: true}); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			project, other := random.IntN(33), random.IntN(33)
			switch random.IntN(5) {
			case 0, 1:
				b.exec(t, "INSERT INTO artifacts SELECT n, nullif($3 + n % 3, 0), $1 FROM generate_series($2::int + 1, $2 + 20) AS n", random.IntN(1000), id, project)
				id += 20
			case 2:
				b.exec(t, "UPDATE artifacts SET project = $1 WHERE project = $2", project, other)
			case 3:
				b.exec(t, "UPDATE artifacts SET size = size + 1 WHERE project = $1", project)
			case 4:
				b.exec(t, "DELETE FROM artifacts WHERE project = $1 AND id % 2 = 0", project)
			}
		}
		b.feed(t)
		b.exec(t, "UPDATE projects SET namespace_id = nullif($1, 0) WHERE id = $2", random.IntN(6), 1+random.IntN(30))
		b.exec(t, "DELETE FROM projects WHERE id = $1", 20+random.IntN(20))
		want := b.joined(t)
		for parent, w := range want {
			if parent == "none" {
				continue
			}
			if got := b.liveTotal(t, parent); got != w {
				t.Fatalf("namespace %s: live %v, want %v", parent, got, w)
			}
		}
		b.work(t)
		b.flush(t)
		if got := b.totals(t); !maps.Equal(got, want) {
			t.Fatalf("flushed %v, want %v", got, want)
		}
		b.exec(t, "UPDATE projects SET namespace_id = 1 WHERE namespace_id = 2")
		if got, want := b.totals(t), b.joined(t); !maps.Equal(got, want) {
			t.Fatalf("after a move: %v, want %v", got, want)
		}
	}
}

// A total is right between any two steps of a flush, and when one comes between
// its own.
func TestTotalWhileFlushing(t *testing.T) {
	t.Parallel()
	var b *testBundle
	at := make(map[string]int)
	look := func(point string) {
		if !strings.HasPrefix(point, "flush:") {
			return
		}
		at[point]++
		if got, want := b.liveTotal(t, "1"), b.joined(t)["1"]; got != want {
			t.Errorf("at %s: %v, want %v", point, got, want)
		}
	}
	b = namespaces(t, func(c *settings) { c.Hook = look })
	b.exec(t, "INSERT INTO projects SELECT n, 1 FROM generate_series(1, 20) AS n")
	for round := range 3 {
		b.exec(t, "INSERT INTO artifacts SELECT n, n % 20 + 1, 10 FROM generate_series($1::int, $1 + 39) AS n", round*40)
		b.feed(t)
		b.flush(t)
	}
	if len(at) != 3 || at["flush:committed"] != 12 {
		t.Errorf("looked at %v", at)
	}

	b.use(func(s *settings) { s.Hook = nil })
	other := b.Counters
	flush := func(times int) func(string) {
		return func(point string) {
			if point != "total:flushed" || times == 0 {
				return
			}
			times--
			b.exec(t, "UPDATE artifacts SET size = size + 1")
			b.tick(t)
			b.feedFrom(t, true)
			if _, err := other.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	b.use(func(s *settings) { s.Hook = flush(2) })
	if got := b.liveTotal(t, "1"); got != b.joined(t)["1"] {
		t.Errorf("flushed meanwhile: %v, want %v", got, b.joined(t)["1"])
	}
	b.use(func(s *settings) { s.Hook = flush(-1) })
	before := b.joined(t)["1"]
	v, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || v.Live || v.Size.Int64() < before.size || v.Size.Int64() >= b.joined(t)["1"].size || v.Items != 120 {
		t.Errorf("flushed again and again: %+v, %v", v, err)
	}
}

// A parent may have more scopes than a script takes fields.
func TestTotalOfManyScopes(t *testing.T) {
	t.Parallel()
	b := namespaces(t)
	var ids []int
	for n := 1; len(ids) < 2500; n++ {
		if shardOf(fmt.Sprint(n), 4) == 0 {
			ids = append(ids, n)
		}
	}
	b.exec(t, "INSERT INTO projects SELECT n, 1 FROM unnest($1::int[]) AS n", ids)
	b.exec(t, "INSERT INTO artifacts SELECT n, n AS project, n AS size FROM unnest($1::int[]) AS n", ids)
	b.feed(t)
	if got := b.liveTotal(t, "1"); got != b.joined(t)["1"] {
		t.Errorf("%v, want %v", got, b.joined(t)["1"])
	}
	v, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || v.Scopes != int64(len(ids)) {
		t.Errorf("%d scopes, %v", v.Scopes, err)
	}
}

// A total that was given up leaves nothing on its connection, nor one that was
// not.
func TestTotalLeavesNoCursor(t *testing.T) {
	t.Parallel()
	b := namespaces(t)
	b.exec(t, "INSERT INTO projects VALUES (1, 1)")
	b.feed(t)
	var stop context.CancelFunc
	b.use(func(s *settings) {
		s.Home = testdb.Pool(t, b.url+"&pool_max_conns=1")
		s.Hook = func(string) { stop() }
	})
	for range 2 {
		var ctx context.Context
		ctx, stop = context.WithCancel(t.Context())
		if _, err := b.Total(ctx, "artifact", "1"); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		stop = func() {}
		if _, err := b.Total(t.Context(), "artifact", "1"); err != nil {
			t.Error(err)
		}
	}
}

// Without Redis it is what was flushed, as of the shard that is the furthest
// behind.
func TestTotalWithoutRedis(t *testing.T) {
	t.Parallel()
	b := namespaces(t)
	b.exec(t, "INSERT INTO projects SELECT n, 1 FROM generate_series(1, 40) AS n")
	b.exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(1, 20) AS n")
	b.feed(t)
	b.flush(t)
	b.exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(21, 40) AS n")
	b.feed(t)
	buf, _ := b.open(t)
	old, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || old.Size.Int64() != 400 {
		t.Fatalf("%+v, %v", old, err)
	}
	// One of four shards has the newer ones.
	if _, _, err := b.feeds.FlushShard(t.Context(), buf, 2); err != nil {
		t.Fatal(err)
	}
	want := int64(200)
	for n := 21; n <= 40; n++ {
		if shardOf(fmt.Sprint(n), 4) == 2 {
			want += 10
		}
	}
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || v.Live || v.Size.Int64() != want || want == 200 || v.Scopes != 40 {
		t.Errorf("%+v, %v; want %d bytes", v, err, want)
	}
	var tick int64
	err = b.pool.QueryRow(t.Context(), "SELECT min(tick) FROM casq.counter_shards").Scan(&tick)
	if err != nil || v.AsOf.Tick != tick || tick >= old.AsOf.Tick {
		t.Errorf("as of tick %d, want %d, older than %d, %v", v.AsOf.Tick, tick, old.AsOf.Tick, err)
	}
	if got := b.totals(t); got["1"].size != want {
		t.Errorf("in SQL %v, want %d bytes", got, want)
	}
	err = b.pool.QueryRow(t.Context(), "SELECT as_of_tick FROM casq.total('artifact', '1')").Scan(&tick)
	if err != nil || tick != v.AsOf.Tick {
		t.Errorf("in SQL as of tick %d, want %d, %v", tick, v.AsOf.Tick, err)
	}
}

// What is no parent is told from one without artifacts.
func TestTotalOfNothing(t *testing.T) {
	t.Parallel()
	b := namespaces(t)
	b.exec(t, "INSERT INTO projects VALUES (1, 7), (2, NULL)")
	b.feed(t)
	if got := b.liveTotal(t, "7"); got != (pair{}) {
		t.Errorf("the total of nothing is %v", got)
	}
	if got, want := b.totals(t), (map[string]pair{"7": {}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, parent := range []string{"8", "07", " 7", "7.0", "seven", "", "99999999999999999999"} {
		if _, err := b.Total(t.Context(), "artifact", parent); !errors.Is(err, counter.ErrNoParent) {
			t.Errorf("total of %q: %v", parent, err)
		}
	}
	b.exec(t, "INSERT INTO artifacts VALUES (1, 5, 10)")
	b.feed(t)
	b.flush(t)
	if got, want := b.totals(t), (map[string]pair{"7": {}, "none": {10, 1}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.exec(t, "DELETE FROM artifacts")
	b.feed(t)
	b.flush(t)
	if got, want := b.totals(t), (map[string]pair{"7": {}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.exec(t, "ALTER TABLE projects RENAME TO groups")
	_, err := b.Total(t.Context(), "artifact", "7")
	if !errors.Is(err, counter.ErrNoTotals) || !strings.Contains(err.Error(), "SELECT casq.group_scopes('artifact', ...)") {
		t.Errorf("without the table: %v", err)
	}
	b.exec(t, "SELECT casq.ungroup_scopes('artifact')")
	if _, err := b.Total(t.Context(), "artifact", "7"); !errors.Is(err, counter.ErrNoTotals) {
		t.Errorf("without a table: %v", err)
	}
}
