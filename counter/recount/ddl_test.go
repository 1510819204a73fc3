package recount

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// ddl is a recount during which the owner of the table changes it: of 20 artifacts
// in each of 6 projects, in the partitions low (ids below 60) and high.
type ddl struct {
	*testBundle
	// once is called at the first "scan:snapshot", or, in parts, when the first slice
	// has been summed up.
	once func()
}

func newDDL(t *testing.T, change ...func(*settings)) *ddl {
	t.Helper()
	testdb.NeedsSuperuser(t)
	d := &ddl{}
	d.testBundle = setup(t, append(change, func(c *settings) {
		c.Hook = func(point string) {
			if once := d.once; once != nil && point == "scan:snapshot" {
				d.once = nil
				once()
			}
		}
	})...)
	for _, sql := range []string{
		"SELECT casq.untrack('artifacts')", "DROP TABLE artifacts",
		"CREATE TABLE artifacts (id bigint PRIMARY KEY, project bigint, size bigint) PARTITION BY RANGE (id)",
		"CREATE TABLE low PARTITION OF artifacts FOR VALUES FROM (0) TO (60)",
		"CREATE TABLE high PARTITION OF artifacts FOR VALUES FROM (60) TO (1000)",
		"CREATE INDEX ON artifacts (project)",
	} {
		d.Exec(t, sql)
	}
	d.Track(t)
	d.work(t) // the recount that tracking it anew has asked for
	d.Exec(t, "INSERT INTO artifacts SELECT n, n % 6, n FROM generate_series(0, 119) AS n")
	d.Feed(t)
	d.FlushAll(t)
	d.Exec(t, "UPDATE casq.counters SET size = size + 1000, items = items + 10")
	return d
}

// waits returns when somebody is kept waiting by a lock.
func (d *ddl) waits(ctx context.Context) error {
	for n := 0; n == 0; {
		err := d.Pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").Scan(&n)
		if err != nil {
			return err
		}
	}
	return nil
}

// open begins a transaction that changes the table, and commits when the scan waits
// for it, after the statements last.
func (d *ddl) open(t *testing.T, sql string, last ...string) {
	t.Helper()
	tx, err := d.Pool.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), sql)
	}
	if err != nil {
		t.Error(err)
		return
	}
	ended := make(chan error, 1)
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	ctx := context.WithoutCancel(t.Context())
	go func() {
		err := d.waits(ctx)
		for _, sql := range last {
			_, lastErr := tx.Exec(ctx, sql)
			err = errors.Join(err, lastErr)
		}
		ended <- errors.Join(err, tx.Commit(ctx))
	}()
}

// work is that of the bundle, with a tick before each swap: the transaction that the
// scan has waited for is newer than the last one.
func (d *ddl) work(t *testing.T) {
	t.Helper()
	for d.step(t) {
		d.Tick(t)
	}
}

func (d *ddl) recount(t *testing.T, r Request) {
	t.Helper()
	if _, _, err := d.Refresh(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	d.work(t)
}

func (d *ddl) same(t *testing.T) {
	t.Helper()
	d.Feed(t)
	d.FlushAll(t)
	if got, want := d.Flushed(t), d.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
	var done int
	err := d.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.refreshes WHERE state <> 'done'").Scan(&done)
	if err != nil || done > 0 {
		t.Errorf("%d recounts are not done, %v", done, err)
	}
}

const attachable = "CREATE TABLE more (id bigint PRIMARY KEY, project bigint, size bigint); INSERT INTO more SELECT n, n % 6, n FROM generate_series(1000, 1119) AS n"

// DDL comes between the snapshot of a recount and the moment in which the recount
// reads the table. A table that was rewritten is empty for an older snapshot, and
// partitions are those of now, whatever the snapshot shows.
func TestDDLUnderASnapshot(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, d *ddl){
		"rewritten": func(t *testing.T, d *ddl) {
			d.open(t, "ALTER TABLE artifacts ADD extra double precision DEFAULT random()")
		},
		"vacuumed": func(t *testing.T, d *ddl) { d.open(t, "CLUSTER low USING low_project_idx") },
		"detached": func(t *testing.T, d *ddl) { d.open(t, "ALTER TABLE artifacts DETACH PARTITION high") },
		"attached": func(t *testing.T, d *ddl) {
			d.Exec(t, "ALTER TABLE artifacts ATTACH PARTITION more FOR VALUES FROM (1000) TO (2000)")
		},
	} {
		for asked, request := range map[string]Request{
			"all": {Kind: "artifact", All: true}, "list": {Kind: "artifact", Scopes: []string{"0", "1", "2", "3", "4", "5"}},
		} {
			t.Run(name+"/"+asked, func(t *testing.T) {
				t.Parallel()
				d := newDDL(t)
				d.Exec(t, attachable)
				d.once = func() { change(t, d) }
				d.recount(t, request)
				d.same(t)
			})
		}
	}
}

// Where nobody refuses it, a scope column gets another name after the snapshot, which
// has the old one. The recount begins anew.
func TestScopeColumnIsRenamedUnderASnapshot(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]Request{
		"all": {Kind: "artifact", All: true}, "list": {Kind: "artifact", Scopes: []string{"0", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &ddl{}
			d.testBundle = setup(t, func(c *settings) {
				c.Hook = func(point string) {
					if once := d.once; once != nil && point == "scan:snapshot" {
						d.once = nil
						once()
					}
				}
			})
			d.Exec(t, "DROP EVENT TRIGGER IF EXISTS casq_ddl")
			d.Exec(t, "INSERT INTO artifacts SELECT n, n % 2, n FROM generate_series(0, 119) AS n")
			d.Feed(t)
			d.FlushAll(t)
			d.Exec(t, "UPDATE casq.counters SET size = size + 1000, items = items + 10")
			d.once = func() { d.Exec(t, "ALTER TABLE artifacts RENAME project TO repository") }
			d.recount(t, request)
			d.Exec(t, "ALTER TABLE artifacts RENAME repository TO project")
			d.same(t)
		})
	}
}

// A filled partition is attached between two slices of a part.
func TestAttachedBetweenSlices(t *testing.T) {
	t.Parallel()
	d := newDDL(t, func(c *settings) { c.SnapshotLimit = time.Minute })
	d.Exec(t, attachable)
	if _, _, err := d.Refresh(t.Context(), Request{Kind: "artifact", All: true}); err != nil {
		t.Fatal(err)
	}
	scans, _ := d.queue.take()
	s, err := d.startScan(t.Context(), scans[0], 1, d.process)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.divide(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices := 0
	d.since = func(time.Time) time.Duration { // is asked after each
		slices++
		if slices == 1 {
			d.Exec(t, "ALTER TABLE artifacts ATTACH PARTITION more FOR VALUES FROM (1000) TO (2000)")
		}
		return 0
	}
	d.work(t)
	d.same(t)
}

// A partition is on its way out: new snapshots do not show its rows any more, and
// the log does not tell yet that they have gone. The recount waits, says so, and
// holds nothing up meanwhile.
func TestPartitionOnItsWayOut(t *testing.T) {
	t.Parallel()
	d := newDDL(t)
	old, err := d.Pool.Begin(t.Context())
	if err == nil {
		_, err = old.Exec(t.Context(), "SELECT FROM artifacts")
	}
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	ctx := context.WithoutCancel(t.Context())
	go func() {
		_, err := d.Pool.Exec(ctx, "ALTER TABLE artifacts DETACH PARTITION high CONCURRENTLY")
		left <- err
	}()
	if err := d.waits(t.Context()); err != nil {
		t.Fatal(err)
	}
	scan, _, err := d.Refresh(t.Context(), Request{Kind: "artifact", All: true})
	if err != nil {
		t.Fatal(err)
	}
	d.Tick(t)
	var tick, floor int64
	if err := d.Pool.QueryRow(t.Context(), "SELECT max(id) FROM casq.ticks").Scan(&tick); err != nil {
		t.Fatal(err)
	}
	if err := d.Scan(t.Context(), scan, 1, d.process); !errors.Is(err, ErrBusy) {
		t.Errorf("it ended with %v, want %v", err, ErrBusy)
	}
	err = d.Pool.QueryRow(t.Context(), "SELECT floor_tick FROM casq.scans WHERE finished_at IS NULL AND token IS NULL").Scan(&floor)
	if err != nil || floor < tick {
		t.Errorf("it goes on from tick %d, and has seen tick %d: %v", floor, tick, err)
	}
	var reason string
	if err := d.Pool.QueryRow(t.Context(), "SELECT reason FROM casq.refresh_status WHERE state = 'running'").Scan(&reason); err != nil {
		t.Errorf("it does not say what it waits for: %v", err)
	}
	if err := errors.Join(old.Rollback(ctx), <-left); err != nil {
		t.Fatal(err)
	}
	d.work(t)
	d.same(t)
}

// An application's connection that holds a lock on the table holds up neither who
// asks for a recount nor the recount's slot, nor those who feed the counters and
// compare some now and then.
func TestLockedTable(t *testing.T) {
	long.Test(t)
	t.Parallel()
	d := newDDL(t)
	app, err := d.Pool.Begin(t.Context())
	if err == nil {
		_, err = app.Exec(t.Context(), "LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"99"}}); !errors.Is(err, ErrLocked) {
		t.Errorf("a scope that has to be looked for in the table: %v, want %v", err, ErrLocked)
	}
	// What has a counter is not searched in the table.
	scan, _, err := d.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"1", "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Scan(t.Context(), scan, 1, d.process); !errors.Is(err, ErrBusy) {
		t.Errorf("the scan ended with %v, want %v", err, ErrBusy)
	}
	var tries int
	err = d.Pool.QueryRow(t.Context(), "SELECT tries FROM casq.scans WHERE token IS NULL").Scan(&tries)
	if err != nil || tries > 0 {
		t.Errorf("the scan was tried %d times, %v", tries, err)
	}
	if err := app.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.work(t)
	if got, want := d.Flushed(t)["1"], d.Real(t)["1"]; got != want {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}

// What the role or the database allows an application bounds nothing that a scan
// does, which waits here for longer than that; a scope that is named twice is
// recounted once.
func TestTimeoutsOfTheRole(t *testing.T) {
	long.Test(t)
	t.Parallel()
	d := newDDL(t)
	name := pgx.Identifier{d.Pool.Config().ConnConfig.Database}.Sanitize()
	d.Exec(t, "ALTER DATABASE "+name+" SET statement_timeout = '250ms'; ALTER DATABASE "+name+" SET lock_timeout = '250ms'")
	d.cfg.Home = testdb.Pool(t, d.URL)
	d.once = func() { d.open(t, "LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE", "SELECT pg_sleep(0.5)") }
	_, refreshes, err := d.Refresh(t.Context(), Request{Kind: "artifact", Scopes: []string{"1", "2", "1"}})
	if err != nil || len(refreshes) != 3 || refreshes[0] != refreshes[2] || refreshes[0] == refreshes[1] {
		t.Fatalf("recounts %v, %v", refreshes, err)
	}
	scans, _ := d.queue.take()
	if err := d.Scan(t.Context(), scans[0], 1, d.process); err != nil {
		t.Fatal(err)
	}
	d.Tick(t)
	d.work(t)
	if got, want := d.Flushed(t)["1"], d.Real(t)["1"]; got != want {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}

// The scope column gets another collation between two parts, and its scopes another
// order by it: those that come later in the old one and sooner in the new one would
// not be counted, if they have no counters, as in a table that had rows when it was
// tracked.
func TestScopesGetAnotherOrderBetweenParts(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	for _, sql := range []string{
		"SELECT casq.untrack('artifacts')", "DROP TABLE artifacts",
		`CREATE TABLE artifacts (id bigint PRIMARY KEY, project text COLLATE "C", size bigint)`,
		"CREATE INDEX ON artifacts (project)",
		"INSERT INTO artifacts SELECT n, (ARRAY['A', 'D', 'b', 'C', 'a', 'c'])[1 + n % 6], n FROM generate_series(1, 120) AS n",
	} {
		s.Exec(t, sql)
	}
	s.Track(t)
	s.Feed(t)
	s.FlushAll(t)
	s.before = func(n int) {
		if n == 2 { // A and C are counted; otherwise a, b and c come before them or between them
			s.Exec(t, `ALTER TABLE artifacts ALTER project TYPE text COLLATE "und-x-icu"`)
		}
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	s.before = nil
	s.same(t)
	if n := s.count(t, "SELECT count(*) FROM casq.counter_kinds WHERE complete"); n != 1 {
		t.Error("the kind is not complete")
	}
}
