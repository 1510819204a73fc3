package shards_test

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"casq/counter/internal/shards"
	"casq/counter/internal/tally"
	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

var quiet = slog.New(slog.DiscardHandler)

// setup is a database with two shards at its first tick, and the position of a second
// one.
func setup(t *testing.T) (home *pgxpool.Pool, from, to eventlog.Position) {
	t.Helper()
	home = testdb.New(t).Pool(t)
	tick(t, home)
	if err := shards.Begin(t.Context(), home, 2, quiet); err != nil {
		t.Fatal(err)
	}
	from = positions(t, home)[0]
	tick(t, home)
	batch, err := eventlog.NewReader(home, 0).Next(t.Context(), from)
	if err != nil || batch.Next == from {
		t.Fatalf("the log goes from %s to %s, %v", from, batch.Next, err)
	}
	return home, from, batch.Next
}

func tick(t *testing.T, home *pgxpool.Pool) {
	t.Helper()
	if _, err := home.Exec(t.Context(), "SELECT casq.tick(true)"); err != nil {
		t.Fatal(err)
	}
}

func positions(t *testing.T, home *pgxpool.Pool) map[int]eventlog.Position {
	t.Helper()
	at, err := shards.Positions(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// counted is the items of a counter.
func counted(t *testing.T, home *pgxpool.Pool, scope string) (items int64) {
	t.Helper()
	err := home.QueryRow(t.Context(), "SELECT coalesce(sum(items), 0) FROM casq.counters WHERE scope_id = $1", scope).Scan(&items)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// Many processes begin at once, each with a number of shards of its own: the first
// one's is that of all.
func TestManyBeginAtOnce(t *testing.T) {
	long.Test(t)
	t.Parallel()
	home := testdb.New(t).Pool(t)
	if _, _, err := shards.Namespace(t.Context(), home); !errors.Is(err, shards.ErrNotStarted) {
		t.Errorf("before any process has begun: %v", err)
	}
	tick(t, home)
	var processes errgroup.Group
	for i := range 20 {
		processes.Go(func() error { return shards.Begin(t.Context(), home, 3+i, quiet) })
	}
	if err := processes.Wait(); err != nil {
		t.Fatal(err)
	}
	_, n, err := shards.Namespace(t.Context(), home)
	if err != nil || n < 3 {
		t.Fatalf("%d shards, %v", n, err)
	}
	if got := slices.Sorted(maps.Keys(positions(t, home))); !slices.Equal(got, tally.All(n)) {
		t.Errorf("the shards are %v, want %d from 0 on", got, n)
	}
}

// A batch goes to the shards that stand where it begins, and to no other. A second
// time it goes nowhere.
func TestApplyComparesWhereShardsStand(t *testing.T) {
	t.Parallel()
	home, from, to := setup(t)
	if _, err := home.Exec(t.Context(), "SELECT casq.define_kind('a', 'none')"); err != nil {
		t.Fatal(err)
	}
	apply := func(shard ...int) []int {
		t.Helper()
		elsewhere, err := shards.Apply(t.Context(), home, shard, from, to, map[int]tally.Sums{
			0: {{Kind: "a", ScopeID: "zero"}: {Items: 1}}, 1: {{Kind: "a", ScopeID: "one"}: {Items: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return elsewhere
	}
	if elsewhere := apply(1); len(elsewhere) > 0 {
		t.Errorf("shards %v are elsewhere", elsewhere)
	}
	if elsewhere := apply(0, 1); !slices.Equal(elsewhere, []int{1}) {
		t.Errorf("shards %v are elsewhere, want 1", elsewhere)
	}
	if zero, one := counted(t, home, "zero"), counted(t, home, "one"); zero != 1 || one != 1 {
		t.Errorf("counted %d and %d, want one each", zero, one)
	}
	if at := positions(t, home); at[0] != to || at[1] != to {
		t.Errorf("the shards are at %v, want %s", at, to)
	}
}

// Home has lost the tick that a batch leads to. No shard is changed, also none of those
// that came first.
func TestApplyBeyondTheLog(t *testing.T) {
	long.Test(t)
	t.Parallel()
	home, from, to := setup(t)
	to.Nonce = uuid.New()
	_, err := shards.Apply(t.Context(), home, []int{0, 1}, from, to, map[int]tally.Sums{0: {{Kind: "a", ScopeID: "zero"}: {Items: 1}}})
	if !errors.Is(err, eventlog.ErrLost) {
		t.Errorf("it ended with %v", err)
	}
	if at := positions(t, home); at[0] != from || at[1] != from || counted(t, home, "zero") != 0 {
		t.Errorf("the shards are at %v, with %d items", at, counted(t, home, "zero"))
	}
}

// A process starts over from what another one has moved meanwhile: it has seen what is
// not so any more, and changes nothing.
func TestStartOverOfWhatHasMoved(t *testing.T) {
	t.Parallel()
	home, from, to := setup(t)
	seen := positions(t, home)
	if _, err := shards.Apply(t.Context(), home, []int{1}, from, to, nil); err != nil {
		t.Fatal(err)
	}
	tick(t, home)
	startOver := func() map[int]eventlog.Position {
		t.Helper()
		if err := shards.StartOver(t.Context(), home, 2, seen, "the test says so", quiet); err != nil {
			t.Fatal(err)
		}
		return positions(t, home)
	}
	if at := startOver(); at[0] != from || at[1] != to {
		t.Errorf("the shards are at %v, want %s and %s", at, from, to)
	}
	seen = positions(t, home)
	if at := startOver(); at[0].Tick <= to.Tick || at[1].Tick <= to.Tick {
		t.Errorf("the shards are at %v, want them beyond %s", at, to)
	}
}
