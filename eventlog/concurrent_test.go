package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"
)

// script is what one writer does, one transaction after the other.
type script []transaction

type transaction struct {
	Changes  []change
	Ending   string // commit, rollback, commit prepared, rollback prepared
	TickLast bool   // a tick between PREPARE and COMMIT PREPARED, or at the end
}

// change updates a resource and appends its event, maybe within a savepoint that
// is then released or rolled back.
type change struct {
	Resource  string
	Savepoint string // "", release or rollback
}

func scripts() *rapid.Generator[[]script] {
	oneChange := rapid.Custom(func(t *rapid.T) change {
		return change{
			Resource:  fmt.Sprint("resource", rapid.IntRange(1, 5).Draw(t, "resource")),
			Savepoint: rapid.SampledFrom([]string{"", "", "release", "rollback"}).Draw(t, "savepoint"),
		}
	})
	oneTransaction := rapid.Custom(func(t *rapid.T) transaction {
		changes := rapid.SliceOfN(oneChange, 0, 5).Draw(t, "changes")
		// All lock in one order, or they would wait for each other.
		slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.Resource, b.Resource) })
		return transaction{
			Changes:  changes,
			Ending:   rapid.SampledFrom([]string{"commit", "commit", "commit", "rollback", "commit prepared", "rollback prepared"}).Draw(t, "ending"),
			TickLast: rapid.Bool().Draw(t, "tick"),
		}
	})
	oneScript := rapid.Custom(func(t *rapid.T) script { return rapid.SliceOfN(oneTransaction, 4, 8).Draw(t, "script") })
	return rapid.SliceOfN(oneScript, 2, 6)
}

// play runs one script.
func (s script) play(ctx context.Context, pool *pgxpool.Pool, name string) error {
	for i, transaction := range s {
		if err := transaction.play(ctx, pool, fmt.Sprintf("%s.%d", name, i)); err != nil {
			return fmt.Errorf("transaction %d %+v: %w", i, transaction, err)
		}
	}
	return nil
}

func (x transaction) play(ctx context.Context, pool *pgxpool.Pool, name string) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	statements := []string{"BEGIN"}
	for _, c := range x.Changes {
		if c.Savepoint != "" {
			statements = append(statements, "SAVEPOINT s")
		}
		statements = append(statements, fmt.Sprintf(`WITH changed AS (UPDATE resources SET n = n + 1 WHERE name = '%[1]s' RETURNING n)
			SELECT casq.append_event('resource', '%[1]s', 'updated', jsonb_build_object('n', n)) FROM changed`, c.Resource))
		switch c.Savepoint {
		case "release":
			statements = append(statements, "RELEASE s")
		case "rollback":
			statements = append(statements, "ROLLBACK TO s")
		}
	}
	tick := "SELECT casq.tick(true)"
	switch {
	case x.Ending == "commit" || x.Ending == "rollback":
		statements = append(statements, x.Ending)
	case x.TickLast:
		statements = append(statements, "PREPARE TRANSACTION '"+name+"'", tick, x.Ending+" '"+name+"'")
	default:
		statements = append(statements, "PREPARE TRANSACTION '"+name+"'", x.Ending+" '"+name+"'")
	}
	if x.TickLast {
		statements = append(statements, tick)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// follow reads from p on, with pages of all sizes, until it has come to the
// tick that last tells, and returns the numbers of each resource in the order in
// which they were delivered.
func follow(ctx context.Context, db eventlog.DB, p eventlog.Position, last <-chan int64) (map[string][]int, error) {
	numbers := map[string][]int{}
	end := int64(-1)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for turn := 0; ; turn++ {
		batch, err := eventlog.NewReader(db, 1+turn%7).Next(ctx, p)
		if err != nil && !errors.Is(err, eventlog.ErrLate) {
			return nil, err
		}
		for _, e := range batch.Events {
			n, err := strconv.Atoi(string(e.Payload[len(`{"n": `) : len(e.Payload)-1]))
			if err != nil {
				return nil, fmt.Errorf("payload %s: %w", e.Payload, err)
			}
			numbers[e.ResourceID] = append(numbers[e.ResourceID], n)
		}
		if err == nil && batch.Next != p {
			p = batch.Next
			continue
		}
		if end >= 0 && p.Tick >= end {
			return numbers, nil
		}
		select {
		case end = <-last:
		case <-poll.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Whatever writers do at once, readers on the primary and on a standby that
// read meanwhile deliver each committed event once, those of one resource in
// order: each change of a resource counts it up, so its events are 1, 2, 3...
func TestReadersFollowConcurrentWriters(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1), testdb.Settings(map[string]string{"max_prepared_transactions": "20"}))
	b := newLog(t, manyConns(t, cluster.URL()))
	b.exec(t, "CREATE TABLE resources (name text PRIMARY KEY, n int NOT NULL)")
	standby := testdb.Pool(t, cluster.StandbyURL(0))
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	events := 0
	for round := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		b.exec(t, "DELETE FROM resources")
		b.exec(t, "INSERT INTO resources SELECT 'resource' || i, 0 FROM generate_series(1, 5) AS i")
		b.tick(t)
		plan := scripts().Example(round)
		readers := b.race(ctx, t, plan, standby)
		want := b.numbers(ctx, t)
		for name, got := range readers {
			for resource, n := range want {
				if fmt.Sprint(got[resource]) != fmt.Sprint(n) {
					t.Errorf("round %d, %s: delivered of %s %v, want %v", round, name, resource, got[resource], n)
				}
				events += len(n)
			}
		}
		cancel()
		if t.Failed() {
			t.Fatalf("the scripts were %+v", plan)
		}
	}
	t.Logf("%d events", events/2)
}

// race plays all scripts at once while the log is read on both hosts.
func (b *logBundle) race(ctx context.Context, t *testing.T, plan []script, standby *pgxpool.Pool) map[string]map[string][]int {
	t.Helper()
	start := b.newest(t)
	// A standby that has not seen the start is late, and waits.
	hosts := map[string]*pgxpool.Pool{"primary": b.pool, "standby": standby}
	last := map[string]chan int64{}
	found := map[string]map[string][]int{}
	var mutex sync.Mutex
	var readers, writers sync.WaitGroup
	for name, pool := range hosts {
		told := make(chan int64, 1)
		last[name] = told
		readers.Go(func() {
			numbers, err := follow(ctx, pool, start, told)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			mutex.Lock()
			defer mutex.Unlock()
			found[name] = numbers
		})
	}
	var stopped atomic.Bool
	writers.Go(func() {
		for !stopped.Load() {
			if _, err := eventlog.Tick(ctx, b.pool, false); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var players sync.WaitGroup
	for i, s := range plan {
		players.Go(func() {
			if err := s.play(ctx, b.pool, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	players.Wait()
	stopped.Store(true)
	writers.Wait()
	end := b.tick(t)
	for _, name := range slices.Sorted(maps.Keys(last)) {
		last[name] <- end
	}
	readers.Wait()
	return found
}

// numbers returns 1 to n for each resource that was changed n times for good.
func (b *logBundle) numbers(ctx context.Context, t *testing.T) map[string][]int {
	t.Helper()
	rows, err := b.pool.Query(ctx, "SELECT name, n FROM resources WHERE n > 0")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int{}
	var name string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		for i := range n {
			want[name] = append(want[name], i+1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return want
}
