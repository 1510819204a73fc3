package counter_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"casq/counter"
	"casq/counter/internal/countertest"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// A total is right between any two steps of a flush, and when one comes between
// its own.
func TestTotalWhileFlushing(t *testing.T) {
	long.Test(t)
	t.Parallel()
	var b *countertest.Bundle
	at := make(map[string]int)
	look := func(point string) {
		if !strings.HasPrefix(point, "flush:") {
			return
		}
		at[point]++
		if got, want := b.LiveTotal(t, "1"), b.Joined(t)["1"]; got != want {
			t.Errorf("at %s: %v, want %v", point, got, want)
		}
	}
	b = countertest.Namespaces(t, func(c *countertest.Settings) { c.Hook = look })
	b.Exec(t, "INSERT INTO projects SELECT n, 1 FROM generate_series(1, 20) AS n")
	for round := range 3 {
		b.Exec(t, "INSERT INTO artifacts SELECT n, n % 20 + 1, 10 FROM generate_series($1::int, $1 + 39) AS n", round*40)
		b.Feed(t)
		b.FlushAll(t)
	}
	if len(at) != 3 || at["flush:committed"] != 12 {
		t.Errorf("looked at %v", at)
	}

	b.Use(func(s *countertest.Settings) { s.Hook = nil })
	other := b.Counters
	flush := func(times int) func(string) {
		return func(point string) {
			if point != "total:flushed" || times == 0 {
				return
			}
			times--
			b.Exec(t, "UPDATE artifacts SET size = size + 1")
			b.Tick(t)
			b.FeedInto(t, true)
			if _, err := other.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	b.Use(func(s *countertest.Settings) { s.Hook = flush(2) })
	if got := b.LiveTotal(t, "1"); got != b.Joined(t)["1"] {
		t.Errorf("flushed meanwhile: %v, want %v", got, b.Joined(t)["1"])
	}
	b.Use(func(s *countertest.Settings) { s.Hook = flush(-1) })
	before := b.Joined(t)["1"]
	v, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || v.Live || v.Size.Int64() < before[0] || v.Size.Int64() >= b.Joined(t)["1"][0] || v.Items != 120 {
		t.Errorf("flushed again and again: %+v, %v", v, err)
	}
}

// A parent may have more scopes than a script takes fields.
func TestTotalOfManyScopes(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.Namespaces(t)
	var ids []int
	for n := 1; len(ids) < 2500; n++ {
		if countertest.ShardOf(fmt.Sprint(n), 4) == 0 {
			ids = append(ids, n)
		}
	}
	b.Exec(t, "INSERT INTO projects SELECT n, 1 FROM unnest($1::int[]) AS n", ids)
	b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, n AS size FROM unnest($1::int[]) AS n", ids)
	b.Feed(t)
	if got := b.LiveTotal(t, "1"); got != b.Joined(t)["1"] {
		t.Errorf("%v, want %v", got, b.Joined(t)["1"])
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
	b := countertest.Namespaces(t)
	b.Exec(t, "INSERT INTO projects VALUES (1, 1)")
	b.Feed(t)
	var stop context.CancelFunc
	b.Use(func(s *countertest.Settings) {
		s.Home = testdb.Pool(t, b.URL+"&pool_max_conns=1")
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
	long.Test(t)
	t.Parallel()
	b := countertest.Namespaces(t)
	b.Exec(t, "INSERT INTO projects SELECT n, 1 FROM generate_series(1, 40) AS n")
	b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(1, 20) AS n")
	b.Feed(t)
	b.FlushAll(t)
	b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, 10 FROM generate_series(21, 40) AS n")
	b.Feed(t)
	buf, _ := b.Open(t)
	old, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || old.Size.Int64() != 400 {
		t.Fatalf("%+v, %v", old, err)
	}
	// One of four shards has the newer ones.
	if _, _, err := b.Feeds.FlushShard(t.Context(), buf, 2); err != nil {
		t.Fatal(err)
	}
	want := int64(200)
	for n := 21; n <= 40; n++ {
		if countertest.ShardOf(fmt.Sprint(n), 4) == 2 {
			want += 10
		}
	}
	if err := b.Server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := b.Total(t.Context(), "artifact", "1")
	if err != nil || v.Live || v.Size.Int64() != want || want == 200 || v.Scopes != 40 {
		t.Errorf("%+v, %v; want %d bytes", v, err, want)
	}
	var tick int64
	err = b.Pool.QueryRow(t.Context(), "SELECT min(tick) FROM casq.counter_shards").Scan(&tick)
	if err != nil || v.AsOf.Tick != tick || tick >= old.AsOf.Tick {
		t.Errorf("as of tick %d, want %d, older than %d, %v", v.AsOf.Tick, tick, old.AsOf.Tick, err)
	}
	if got := b.Totals(t); got["1"][0] != want {
		t.Errorf("in SQL %v, want %d bytes", got, want)
	}
	err = b.Pool.QueryRow(t.Context(), "SELECT as_of_tick FROM casq.total('artifact', '1')").Scan(&tick)
	if err != nil || tick != v.AsOf.Tick {
		t.Errorf("in SQL as of tick %d, want %d, %v", tick, v.AsOf.Tick, err)
	}
}

// What is no parent is told from one without artifacts.
func TestTotalOfNothing(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.Namespaces(t)
	b.Exec(t, "INSERT INTO projects VALUES (1, 7), (2, NULL)")
	b.Feed(t)
	if got := b.LiveTotal(t, "7"); got != (countertest.Pair{}) {
		t.Errorf("the total of nothing is %v", got)
	}
	if got, want := b.Totals(t), (map[string]countertest.Pair{"7": {}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, parent := range []string{"8", "07", " 7", "7.0", "seven", "", "99999999999999999999"} {
		if _, err := b.Total(t.Context(), "artifact", parent); !errors.Is(err, counter.ErrNoParent) {
			t.Errorf("total of %q: %v", parent, err)
		}
	}
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 5, 10)")
	b.Feed(t)
	b.FlushAll(t)
	if got, want := b.Totals(t), (map[string]countertest.Pair{"7": {}, "none": {10, 1}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.Exec(t, "DELETE FROM artifacts")
	b.Feed(t)
	b.FlushAll(t)
	if got, want := b.Totals(t), (map[string]countertest.Pair{"7": {}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.Exec(t, "ALTER TABLE projects RENAME TO groups")
	_, err := b.Total(t.Context(), "artifact", "7")
	if !errors.Is(err, counter.ErrNoTotals) || !strings.Contains(err.Error(), "SELECT casq.group_scopes('artifact', ...)") {
		t.Errorf("without the table: %v", err)
	}
	b.Exec(t, "SELECT casq.ungroup_scopes('artifact')")
	if _, err := b.Total(t.Context(), "artifact", "7"); !errors.Is(err, counter.ErrNoTotals) {
		t.Errorf("without a table: %v", err)
	}
}
