package worker

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ticking is a worker that does nothing but take ticks.
//
// mu guards polls.
type ticking struct {
	stop  func()
	mu    sync.Mutex
	polls map[string]int // by point
}

func startTicking(t *testing.T, url, redisURL string) *ticking {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, done := &ticking{polls: make(map[string]int)}, make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{HomeURL: url, RedisURL: redisURL, Logger: slog.New(slog.DiscardHandler), Hook: w.hook})
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *ticking) hook(point string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polls[point]++
}

func (w *ticking) count(point string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.polls[point]
}

// more waits until the worker has polled n times more.
func (w *ticking) more(t *testing.T, point string, n int) {
	t.Helper()
	before := w.count(point)
	until(t, point, func() bool { return w.count(point) >= before+n })
}

func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	await.True(t, 40*time.Second, what, met)
}

// alone waits until one of the two polls often, and the other does not.
func alone(t *testing.T, one, two *ticking) (often, other *ticking) {
	t.Helper()
	before := [2]int{one.count("tick:often"), two.count("tick:often")}
	until(t, "one that polls often alone", func() bool {
		now := [2]int{one.count("tick:often"), two.count("tick:often")}
		a, b := now[0]-before[0], now[1]-before[1]
		switch {
		case a >= 20 && b == 0:
			often, other = one, two
		case b >= 20 && a == 0:
			often, other = two, one
		case a >= 1 && b >= 1:
			before = now // they have not agreed yet
		}
		return often != nil
	})
	return often, other
}

// wantTick appends an event and waits for the tick that shows it.
func wantTick(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var id, shown int64
	if err := pool.QueryRow(t.Context(), "SELECT casq.append_event('resource', 'a', 'updated')").Scan(&id); err != nil {
		t.Fatal(err)
	}
	until(t, "a tick that shows an event", func() bool {
		if err := pool.QueryRow(t.Context(), "SELECT max(high_id) FROM casq.ticks").Scan(&shown); err != nil {
			t.Fatal(err)
		}
		return shown >= id
	})
}

func TestOneTickerPollsOften(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db, redis := testdb.New(t), testredis.Start(t)
	pool := db.Pool(t)
	if _, err := pool.Exec(t.Context(), "SELECT casq.define_kind('resource', 'none')"); err != nil {
		t.Fatal(err)
	}
	often, other := alone(t, startTicking(t, db.URL, redis.URL()), startTicking(t, db.URL, redis.URL()))
	wantTick(t, pool)
	often.stop()
	other.more(t, "tick:often", 20)
	wantTick(t, pool)

	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	other.more(t, "tick:often", 100) // goes on, also when the lease's time is over
	third := startTicking(t, db.URL, redis.URL())
	third.more(t, "tick:seldom", 2)
	other.stop()
	wantTick(t, pool)
}

func TestTickersWithoutRedisPollOften(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	one, two := startTicking(t, db.URL, ""), startTicking(t, db.URL, "")
	one.more(t, "tick:often", 20)
	two.more(t, "tick:often", 20)
}

// What no event trigger was there to refuse is found by whoever takes the ticks.
func TestTickerWatchesTables(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	db := testdb.New(t)
	pool := db.Pool(t)
	for _, sql := range []string{
		`DROP EVENT TRIGGER casq_rewrite`, `CREATE TABLE files (id int PRIMARY KEY, project int, size bigint)`,
		`SELECT casq.track('files', kind => 'file', transfer => 'none', key_column => 'id', scope_column => 'project', size_column => 'size')`,
		`INSERT INTO files VALUES (1, 1, 100)`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	// As if nothing had followed the command.
	if _, err := pool.Exec(t.Context(), `ALTER EVENT TRIGGER casq_ddl DISABLE`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `ALTER TABLE files ALTER size TYPE bigint USING size * 1024`); err != nil {
		t.Fatal(err)
	}
	w := startTicking(t, db.URL, "")
	w.more(t, "tables:watched", 1)
	var complete bool
	if err := pool.QueryRow(t.Context(), `SELECT complete FROM casq.counter_kinds WHERE kind = 'file'`).Scan(&complete); err != nil || complete {
		t.Errorf("complete: %v, %v; want it not to be", complete, err)
	}
}
