package refreshkey_test

import (
	"slices"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"
	"casq/races/refreshkey"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

type testBundle struct {
	*refreshkey.Counters
	pool  *pgxpool.Pool
	redis redis.UniversalClient
}

// setup is a project with seven artifacts of 100 bytes that nothing has counted.
func setup(t *testing.T, cfg refreshkey.Config) *testBundle {
	t.Helper()
	b := &testBundle{pool: testdb.New(t).Pool(t), redis: testredis.Client(t, testredis.Start(t))}
	cfg.DB, cfg.Redis = b.pool, b.redis
	b.Counters = refreshkey.New(cfg)
	must(t, b.Setup(t.Context()))
	b.exec(t, "CREATE TABLE artifacts (id bigint PRIMARY KEY, project bigint, size bigint)")
	b.exec(t, "INSERT INTO artifacts SELECT n, 1, 100 FROM generate_series(1, 7) AS n")
	return b
}

func (b *testBundle) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

var must = expect.NoError

func (b *testBundle) want(t *testing.T, column, value int64) {
	t.Helper()
	gotColumn, err := b.Column(t.Context(), 1)
	must(t, err)
	gotValue, err := b.Value(t.Context(), 1)
	must(t, err)
	if gotColumn != column || gotValue != value {
		t.Errorf("column %d, value %d; want %d, %d", gotColumn, gotValue, column, value)
	}
}

func increment(artifact, amount int64) refreshkey.Increment {
	return refreshkey.Increment{Project: 1, Artifact: artifact, Amount: amount}
}

func TestFlush(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, refreshkey.Config{})
	must(t, b.Add(t.Context(), increment(1, 100), increment(2, 50)))
	must(t, b.Add(t.Context(), increment(1, -30)))
	b.want(t, 0, 120)
	must(t, b.Flush(t.Context(), 1))
	must(t, b.Flush(t.Context(), 1))
	b.want(t, 120, 120)
	if keys := b.redis.Keys(t.Context(), "*").Val(); len(keys) > 0 {
		t.Errorf("left in redis: %q", keys)
	}
}

func TestRecount(t *testing.T) {
	t.Parallel()
	b := setup(t, refreshkey.Config{Batch: 3})
	must(t, b.Add(t.Context(), increment(1, 12345)))
	must(t, b.Flush(t.Context(), 1))
	must(t, b.Recount(t.Context(), 1))
	b.want(t, 700, 700)
	must(t, b.Recount(t.Context(), 1))
	b.want(t, 700, 700)
	if keys := b.redis.Keys(t.Context(), "*").Val(); len(keys) > 0 {
		t.Errorf("left in redis: %q", keys)
	}
}

// While a recount runs, an increment and a decrement of an artifact count once,
// in that order only.
func TestDeduplication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		amounts []int64
		want    int64
	}{
		"increment twice":           {[]int64{100, 100}, 100},
		"increment, decrement":      {[]int64{100, -100}, 0},
		"decrement, increment":      {[]int64{-100, 100}, 0},
		"decrement":                 {[]int64{-100}, 0},
		"both twice":                {[]int64{100, -100, 100, -100}, 0},
		"grow":                      {[]int64{100, 50}, 100},
		"shrink, then delete":       {[]int64{100, -40, -60}, 60},
		"decrement, increment, dec": {[]int64{-100, 100, -100}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, refreshkey.Config{})
			b.exec(t, "DELETE FROM artifacts")
			asked, err := b.Ask(t.Context(), 1)
			must(t, err)
			found, err := b.Scan(t.Context())
			must(t, err)
			if !asked || !found {
				t.Fatalf("asked %t, found %t", asked, found)
			}
			for _, amount := range c.amounts {
				must(t, b.Add(t.Context(), increment(1<<40, amount)))
			}
			projects, err := b.Finalize(t.Context())
			must(t, err)
			if !slices.Equal(projects, []int64{1}) {
				t.Errorf("finalized %v", projects)
			}
			b.want(t, 0, c.want)
		})
	}
}
