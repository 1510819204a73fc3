package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// poll is what a ticker does each time.
func (b *logBundle) poll(t testing.TB) int64 {
	t.Helper()
	id, err := eventlog.Tick(t.Context(), b.pool, false)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// pass makes time pass, as far as the log can tell.
func (b *logBundle) pass(t testing.TB, d time.Duration) {
	t.Helper()
	b.exec(t, "UPDATE casq.ticks SET taken_at = taken_at - $1::interval WHERE id = (SELECT max(id) FROM casq.ticks)", d)
}

func TestTickIsTakenWhenThereIsSomethingToShow(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	want := func(why string, id int64) {
		t.Helper()
		if got := b.poll(t); got != id {
			t.Fatalf("%s: tick %d, want %d", why, got, id)
		}
	}
	want("the first poll", 1)
	want("nothing happened", 0)
	slow := b.begin(t)
	add(t, slow, "slow")
	want("an event is not committed", 0)
	b.write(t, "a")
	want("an event is committed", 2)
	want("its tick is taken", 0)
	commit(t, slow)
	want("an event is committed late", 3)
	rolledBack := b.begin(t)
	add(t, rolledBack, "rolled back")
	if err := rolledBack.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "CREATE TABLE other (i int)")
	want("only others have committed", 0)
	b.pass(t, 9500*time.Millisecond)
	want("the last one is 9.5 s old", 0)
	b.pass(t, 500*time.Millisecond)
	want("the last one is 10 s old", 4)
	want("the last one is new", 0)
	b.pass(t, -time.Hour)
	want("the clock was set back by an hour", 5)
	if got := b.tick(t); got != 6 {
		t.Errorf("a forced tick: %d, want 6", got)
	}
}

// An idle minute has at most ten ticks. The ticker polls every 50 ms.
func TestIdleMinuteHasFewTicks(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupLog(t)
	b.tick(t)
	ticks := 0
	for range int(time.Minute / eventlog.DefaultTickInterval) {
		b.pass(t, eventlog.DefaultTickInterval)
		if b.poll(t) != 0 {
			ticks++
		}
	}
	t.Logf("%d ticks in an idle minute", ticks)
	if ticks < 5 || ticks > 10 {
		t.Errorf("%d ticks in an idle minute, want 5 to 10", ticks)
	}
}

func TestTickIsRefused(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	tests := []struct{ name, first, state, told string }{
		{"repeatable read", "BEGIN ISOLATION LEVEL REPEATABLE READ", "25000", "REPEATABLE READ"},
		{"serializable", "BEGIN ISOLATION LEVEL SERIALIZABLE", "25000", "SERIALIZABLE"},
		{"serializable, read only", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "25000", "SERIALIZABLE"},
		{"after a write", "BEGIN; SELECT casq.append_event('resource', 'a', 'created')", "25001", "has written already"},
		{"with a transaction id", "BEGIN; SELECT pg_current_xact_id()", "25001", "has written already"},
		{"with one given in a savepoint", "BEGIN; SAVEPOINT s; SELECT pg_current_xact_id(); ROLLBACK TO s", "25001", "has written already"},
		{"twice", "BEGIN; SELECT casq.tick(true)", "25001", "has written already"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn, err := b.pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			if err := run(t.Context(), conn, test.first); err != nil {
				t.Fatal(err)
			}
			_, err = eventlog.Tick(t.Context(), conn, true)
			wantRefused(t, err, test.told)
			if code := sqlState(err); code != test.state {
				t.Errorf("state %s, want %s", code, test.state)
			}
			if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func sqlState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

func TestTickIsRefusedOnAStandby(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := newLog(t, testdb.Pool(t, cluster.URL()))
	b.tick(t)
	if err := cluster.Standbys[0].WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	_, err := eventlog.Tick(t.Context(), testdb.Pool(t, cluster.StandbyURL(0)), true)
	wantRefused(t, err, "standby", "primary")
}

func TestTickWaitsForNobody(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.tick(t)
	holder := b.begin(t)
	if _, err := eventlog.Tick(t.Context(), holder, true); err != nil {
		t.Fatal(err)
	}
	if id := b.tick(t); id != 0 {
		t.Errorf("tick %d while another session is taking one", id)
	}
	commit(t, holder)
	if id := b.tick(t); id != 3 {
		t.Errorf("tick %d, want 3", id)
	}
}

// A tick that was seen must survive a crash, whatever its session says.
func TestTickIsFlushed(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	var inside, after string
	_, err = conn.Exec(t.Context(), "SET synchronous_commit = off")
	if err == nil {
		err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if _, err := eventlog.Tick(t.Context(), tx, true); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&inside)
		})
	}
	if err == nil {
		err = conn.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&after)
	}
	if err != nil || inside != "on" || after != "off" {
		t.Errorf("synchronous_commit is %q with the tick and %q after it, %v; want on and off", inside, after, err)
	}
}

func TestTicksOfManySessionsFollowEachOther(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			for j := range 20 {
				_, err := b.pool.Exec(t.Context(), "SELECT casq.append_event('resource', $1, 'updated')", fmt.Sprintf("%d/%d", i, j))
				if err == nil {
					_, err = eventlog.Tick(t.Context(), b.pool, j%5 == 0)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	b.tick(t)
	resources, _ := read(t, b.pool, b.start(t), 7)
	seen := map[string]bool{}
	for _, resource := range resources {
		if seen[resource] {
			t.Errorf("%s was delivered twice", resource)
		}
		seen[resource] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d events, want 200", len(seen))
	}
	var disorder int
	b.scan(t, `SELECT count(*) FROM casq.ticks AS a JOIN casq.ticks AS b ON b.id = a.id + 1
		WHERE pg_snapshot_xmin(a.snapshot) > pg_snapshot_xmin(b.snapshot) OR pg_snapshot_xmax(a.snapshot) > pg_snapshot_xmax(b.snapshot)
		   OR a.lsn > b.lsn OR a.low_id > b.low_id OR a.high_id > b.high_id OR a.nonce = b.nonce`, &disorder)
	if disorder != 0 {
		t.Errorf("%d ticks are behind the one before", disorder)
	}
}

// A dump that was restored elsewhere brings transaction ids that mean nothing
// there, in its ticks or in events that no tick shows.
func TestTickRefusesARestoredDump(t *testing.T) {
	t.Parallel()
	for name, restored := range map[string]string{
		"ticks of the future": `UPDATE casq.ticks SET snapshot = '1000000000:1000000000:'`,
		"events of the future": `UPDATE casq.timelines SET system_identifier = 1;
			ALTER TABLE casq.events DROP CONSTRAINT events_xid_is_the_writers;
			INSERT INTO casq.events (xid, kind, resource_id, op) VALUES ('1000000000', 'resource', 'restored', 'created');
			ALTER TABLE casq.events ADD CONSTRAINT events_xid_is_the_writers CHECK (xid = pg_current_xact_id()) NOT VALID`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupLog(t)
			b.write(t, "a")
			b.tick(t)
			old := b.newest(t)
			if err := run(t.Context(), b.pool, restored); err != nil {
				t.Fatal(err)
			}
			_, err := eventlog.Tick(t.Context(), b.pool, true)
			wantRefused(t, err, "casq.adopt_log()", "backfill")
			b.exec(t, "SELECT casq.adopt_log()")
			b.write(t, "b")
			b.tick(t)
			resources, _ := read(t, b.pool, b.start(t), 10)
			wantResources(t, resources, "b")
			if _, err := eventlog.NewReader(b.pool, 0).Next(t.Context(), old); err == nil {
				t.Error("a position of the old log goes on in the new one")
			}
		})
	}
}

// The cluster's own identity changes with pg_upgrade, its transaction ids go
// on: the log does too, and whoever starts anew can read all of it.
func TestNewSystemIsANewTimeline(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.write(t, "a")
	b.tick(t)
	b.exec(t, "UPDATE casq.timelines SET system_identifier = 1")
	old := b.newest(t)
	b.write(t, "b")
	b.poll(t)
	if timeline := b.newest(t).Timeline.Ordinal; timeline != 2 {
		t.Errorf("timeline %d after a change of the system, want 2", timeline)
	}
	if _, err := eventlog.NewReader(b.pool, 0).Next(t.Context(), old); !errors.Is(err, eventlog.ErrForeign) {
		t.Errorf("a position of the old system: %v, want it foreign", err)
	}
	resources, _ := read(t, b.pool, b.start(t), 1)
	wantResources(t, resources, "a", "b")
}

// signalHandler tells of each record.
type signalHandler struct {
	slog.Handler
	records chan string
}

func (h signalHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h signalHandler) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.records <- r.Message:
	default:
	}
	return nil
}

func TestTickerGoesOnAfterErrors(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t)
	b := newLog(t, testdb.Pool(t, cluster.URL()))
	pool, err := pgxpool.New(t.Context(), cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	records := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := eventlog.Ticker{Pool: pool, Logger: slog.New(signalHandler{slog.DiscardHandler, records}), Interval: time.Millisecond}
		ticker.Run(ctx)
	}()
	b.write(t, "a")
	b.until(t, "SELECT EXISTS (SELECT FROM casq.ticks WHERE high_id = 1)")
	if err := cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if message := <-records; !strings.HasPrefix(message, "cannot take a tick") {
		t.Errorf("logged %q", message)
	}
	if err := cluster.Primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.pool.Reset()
	b.write(t, "b")
	b.until(t, "SELECT EXISTS (SELECT FROM casq.ticks WHERE high_id > 1)")
	cancel()
	<-ended
	resources, _ := read(t, b.pool, b.start(t), 10)
	wantResources(t, resources, "a", "b")
}

// TestStandbyTicker: it polls while nobody else does, and leaves it to others
// when they do.
func TestStandbyTicker(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newLog(t, testdb.Pool(t, testdb.New(t).URL))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := eventlog.Ticker{
			Pool: b.pool, Logger: slog.New(slog.DiscardHandler), Interval: time.Millisecond,
			Pace: func() eventlog.Pace { return eventlog.Standby },
		}
		ticker.Run(ctx)
	}()
	shown := func(n int) string {
		return fmt.Sprintf("SELECT EXISTS (SELECT FROM casq.ticks WHERE high_id >= %d)", n)
	}
	b.write(t, "a")
	b.until(t, shown(1)) // there was no tick
	b.write(t, "b")
	b.until(t, shown(2)) // the newest tick is its own
	b.until(t, "SELECT max(taken_at) - min(taken_at) < interval '10 s' FROM casq.ticks")
	b.tick(t)
	b.write(t, "c")
	select {
	case <-ended:
		t.Fatal("it has ended")
	case <-time.After(2500 * time.Millisecond): // two polls
	}
	var seen bool
	if err := b.pool.QueryRow(t.Context(), shown(3)).Scan(&seen); err != nil || seen {
		t.Errorf("it has taken a tick (%v, %v), though another had just taken one", seen, err)
	}
	if _, err := b.pool.Exec(t.Context(), "UPDATE casq.ticks SET taken_at = taken_at - interval '12 s'"); err != nil {
		t.Fatal(err)
	}
	b.until(t, shown(3)) // the other is away
	cancel()
	<-ended
}
