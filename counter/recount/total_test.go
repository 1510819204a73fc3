package recount

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"casq/internal/testing/long"
)

// Whatever changes, totals are what a join of the two tables says: live, before
// anything is flushed, and in SQL afterwards. A project that moves changes two of
// them at once.
func TestTotalsFollowArtifactsAndProjects(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.AddNamespaces(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b.Exec(t, "INSERT INTO projects SELECT n, nullif(n % 5, 0) FROM generate_series(1, 30) AS n")
	id := 0
	for range 12 {
		if _, _, err := b.Refresh(t.Context(), Request{Kind: "artifact", All: true}); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			project, other := random.IntN(33), random.IntN(33)
			switch random.IntN(5) {
			case 0, 1:
				b.Exec(t, "INSERT INTO artifacts SELECT n, nullif($3 + n % 3, 0), $1 FROM generate_series($2::int + 1, $2 + 20) AS n", random.IntN(1000), id, project)
				id += 20
			case 2:
				b.Exec(t, "UPDATE artifacts SET project = $1 WHERE project = $2", project, other)
			case 3:
				b.Exec(t, "UPDATE artifacts SET size = size + 1 WHERE project = $1", project)
			case 4:
				b.Exec(t, "DELETE FROM artifacts WHERE project = $1 AND id % 2 = 0", project)
			}
		}
		b.Feed(t)
		b.Exec(t, "UPDATE projects SET namespace_id = nullif($1, 0) WHERE id = $2", random.IntN(6), 1+random.IntN(30))
		b.Exec(t, "DELETE FROM projects WHERE id = $1", 20+random.IntN(20))
		want := b.Joined(t)
		for parent, w := range want {
			if parent == "none" {
				continue
			}
			if got := b.LiveTotal(t, parent); got != w {
				t.Fatalf("namespace %s: live %v, want %v", parent, got, w)
			}
		}
		b.work(t)
		b.FlushAll(t)
		if got := b.Totals(t); !maps.Equal(got, want) {
			t.Fatalf("flushed %v, want %v", got, want)
		}
		b.Exec(t, "UPDATE projects SET namespace_id = 1 WHERE namespace_id = 2")
		if got, want := b.Totals(t), b.Joined(t); !maps.Equal(got, want) {
			t.Fatalf("after a move: %v, want %v", got, want)
		}
	}
}

// A total is as exact as all of its scopes are.
func TestTotalsSayWhetherTheyAreExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.AddNamespaces(t)
	b.Exec(t, "INSERT INTO projects VALUES (1, 1), (2, 1), (3, 2), (4, 3)")
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10), (2, 2, 10), (3, 3, 10), (5, 5, 10)")
	b.Feed(t)
	b.FlushAll(t)
	exact := func(want string) {
		t.Helper()
		var got, single string
		var live []string
		err := b.Pool.QueryRow(t.Context(), `SELECT string_agg(coalesce(parent_id, 'none') || ' ' || exact, ', ' ORDER BY parent_id),
			(SELECT string_agg(n || ' ' || exact, ', ' ORDER BY n) FROM generate_series(1, 3) AS n, casq.total('artifact', n::text))
			FROM casq.Totals('artifact')`).Scan(&got, &single)
		for _, parent := range []string{"1", "2", "3"} {
			v, err := b.Total(t.Context(), "artifact", parent)
			if err != nil {
				t.Fatal(err)
			}
			live = append(live, fmt.Sprintf("%s %t", parent, v.Exact))
		}
		parents, _, _ := strings.Cut(want, ", none")
		if err != nil || got != want || single != parents || strings.Join(live, ", ") != parents {
			t.Errorf("exact: %s\none by one: %s\nlive: %s\nwant: %s, %v", got, single, live, want, err)
		}
	}
	exact("1 true, 2 true, 3 true, none true")
	b.Exec(t, "UPDATE casq.counter_kinds SET complete = false, generation = 2")
	exact("1 false, 2 false, 3 false, none false")
	b.recount(t, Request{Kind: "artifact", Scopes: []string{"1", "3", "5"}})
	exact("1 false, 2 true, 3 false, none true")
	b.recount(t, Request{Kind: "artifact", All: true})
	exact("1 true, 2 true, 3 true, none true")
}
