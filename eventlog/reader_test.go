package eventlog_test

import (
	"context"
	"errors"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

func TestReaderReadsFromTickToTick(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := newLog(t, manyConns(t, cluster.URL()))
	standby := testdb.Pool(t, cluster.StandbyURL(0))
	hosts := map[string]struct {
		db eventlog.DB
		p  eventlog.Position
	}{"primary": {db: b.pool}, "standby": {db: standby}}

	// want ticks, unless nothing must be new, and reads on all hosts.
	want := func(ticks bool, resources ...string) {
		t.Helper()
		if ticks {
			b.tick(t)
		}
		if err := cluster.Standbys[0].WaitReplayed(t.Context(), cluster.Primary); err != nil {
			t.Fatal(err)
		}
		for name, host := range hosts {
			if host.p == (eventlog.Position{}) {
				host.p = b.start(t)
			}
			got, end := read(t, host.db, host.p, 100)
			t.Log(name, got, end)
			wantResources(t, got, resources...)
			host.p = end
			hosts[name] = host
		}
	}

	b.write(t, "a1", "a2")
	slow := b.begin(t)
	add(t, slow, "slow1")
	want(true, "a1", "a2")
	b.write(t, "a3")
	want(false) // no tick shows it yet
	add(t, slow, "slow2")
	want(true, "a3")
	lost := b.begin(t)
	add(t, lost, "lost")
	b.write(t, "a4")
	commit(t, slow)
	add(t, lost, "lost")
	want(true, "slow1", "slow2", "a4")
	if err := lost.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(true)
	b.write(t, "a5")
	want(true, "a5")
}

// A snapshot's xmax is the newest completed transaction id plus one. The
// transaction above it was running when the tick was taken, had appended, and
// is not among those that the snapshot calls open. A server of its own, for the
// transactions of others would raise xmax.
func TestTransactionAboveXmaxIsDelivered(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newLog(t, manyConns(t, testdb.NewCluster(t).URL()))
	older, newer := b.begin(t), b.begin(t)
	add(t, older, "older")
	add(t, newer, "newer1")
	commit(t, older)
	b.tick(t)
	p := b.start(t)
	resources, p := read(t, b.pool, p, 100)
	wantResources(t, resources, "older")
	add(t, newer, "newer2")
	commit(t, newer)
	b.tick(t)
	resources, _ = read(t, b.pool, p, 100)
	wantResources(t, resources, "newer1", "newer2")
}

// The bounds on ids that a tick holds are what its comment in the migration
// says, whoever is above xmax.
func TestTickBoundsIDs(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.tick(t)
	var open []pgx.Tx
	for range 6 {
		tx := b.begin(t)
		add(t, tx, "first")
		open = append(open, tx)
	}
	for i, tx := range open {
		add(t, tx, "second")
		if i%2 == 0 {
			b.tick(t)
			commit(t, tx)
		} else {
			commit(t, tx)
			b.tick(t)
		}
	}
	var wrong int
	b.scan(t, `SELECT count(*) FROM casq.ticks AS t CROSS JOIN casq.events AS e
		WHERE pg_visible_in_snapshot(e.xid, t.snapshot) AND e.id > t.high_id
		   OR e.xid >= pg_snapshot_xmax(t.snapshot) AND e.id <= t.low_id`, &wrong)
	if wrong != 0 {
		t.Errorf("%d events lie outside of a tick's bounds", wrong)
	}
}

// steps writes a log whose step from the returned position has events of two
// transactions that were open at its beginning, of one that was above xmax, and
// of younger ones, and returns them in the order of their ids.
func (b *logBundle) steps(t *testing.T) (p eventlog.Position, inOrder []string) {
	t.Helper()
	late1, late2, done, above := b.begin(t), b.begin(t), b.begin(t), b.begin(t)
	add(t, late1, "late1.1", "late1.2", "late1.3")
	add(t, late2, "late2.1")
	add(t, above, "above.1")
	add(t, done, "done")
	commit(t, done)
	b.tick(t)
	p = b.newest(t)
	add(t, above, "above.2")
	b.write(t, "new.1", "new.2")
	b.tick(t)
	add(t, late1, "late1.4")
	b.write(t, "new.3")
	add(t, late2, "late2.2")
	commit(t, above)
	commit(t, late2)
	b.write(t, "new.4")
	commit(t, late1)
	b.tick(t)
	return p, []string{"late1.1", "late1.2", "late1.3", "late2.1", "above.1", "above.2", "new.1", "new.2",
		"late1.4", "new.3", "late2.2", "new.4"}
}

func TestPagesOfAnySizeMakeUpTheStep(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	p, inOrder := b.steps(t)
	for pageSize := 1; pageSize <= len(inOrder)+1; pageSize++ {
		got, end := read(t, b.pool, p, pageSize)
		wantResources(t, got, inOrder...)
		if end != b.newest(t) {
			t.Errorf("pages of %d end at %v, want %v", pageSize, end, b.newest(t))
		}
	}
}

// Page 2 of the step to tick 2, taken up as a step to tick 3, has no place for
// what committed late with a lower id than the page.
func TestStepOnceBegunIsFinishedToItsTick(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.tick(t)
	p := b.newest(t)
	slow := b.begin(t)
	add(t, slow, "slow")
	b.write(t, "a", "b", "c")
	b.tick(t)
	page1 := next(t, b.pool, p, 2)
	wantResources(t, named(page1), "a", "b")
	commit(t, slow)
	b.tick(t)

	rest, _ := read(t, b.pool, page1.Next, 2)
	wantResources(t, rest, "c", "slow")

	// The twin aims at the newest tick again with each page.
	twin := page1.Next
	twin.ToTick, twin.ToNonce = b.newest(t).Tick, b.newest(t).Nonce
	rest, _ = read(t, b.pool, twin, 2)
	wantResources(t, rest, "c")
}

func TestStartOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	reader := eventlog.NewReader(b.pool, 0)
	if p, err := reader.Start(t.Context()); !errors.Is(err, eventlog.ErrNoTicks) {
		t.Fatalf("start of a log without ticks: %v, %v", p, err)
	}
	if _, err := reader.Next(t.Context(), eventlog.Position{}); !errors.Is(err, eventlog.ErrLate) {
		t.Errorf("next on a log without ticks: %v, want it late", err)
	}
	b.write(t, "a")
	b.tick(t)
	resources, _ := read(t, b.pool, b.start(t), 0+10)
	wantResources(t, resources, "a")
	if _, err := reader.Next(t.Context(), eventlog.Position{}); !errors.Is(err, eventlog.ErrForeign) {
		t.Errorf("next from no position: %v, want it foreign", err)
	}
}

// The beginning of such a log is not there: its reader goes on from the newest
// tick, and has to compare everything.
func TestStartOnAPrunedLog(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.write(t, "a")
	b.tick(t)
	old := b.start(t)
	b.write(t, "b")
	oldest := b.tick(t)
	b.write(t, "c")
	b.tick(t)
	b.exec(t, "DELETE FROM casq.events WHERE pg_visible_in_snapshot(xid, (SELECT snapshot FROM casq.ticks WHERE id = $1))", oldest)
	b.exec(t, "DELETE FROM casq.ticks WHERE id < $1", oldest)
	reader := eventlog.NewReader(b.pool, 0)
	if _, err := reader.Start(t.Context()); !errors.Is(err, eventlog.ErrPruned) {
		t.Errorf("start: %v", err)
	}
	if _, err := reader.Next(t.Context(), old); !errors.Is(err, eventlog.ErrPruned) {
		t.Errorf("next from a pruned tick: %v", err)
	}
	first, err := reader.StartOver(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := reader.Rewind(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []eventlog.Rewind{first, again} {
		if !errors.Is(w.Cause, eventlog.ErrPruned) || !w.Everything || w.Incomparable || w.To.Tick != oldest+1 || w.To != w.Newest {
			t.Errorf("goes on so: %+v", w)
		}
	}
	b.write(t, "d")
	b.tick(t)
	resources, _ := read(t, b.pool, first.To, 10)
	wantResources(t, resources, "d")
}

// twoHosts is an address behind which two hosts answer: the first is asked for
// the ticks, the second for the events.
type twoHosts struct {
	eventlog.DB
	second eventlog.DB
}

func (h twoHosts) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return h.second.SendBatch(ctx, batch)
}

// The second host is late. Its page lacks events, and must not be taken for
// the step.
func TestPageOfALateHostIsNotUsed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := newLog(t, manyConns(t, cluster.URL()))
	late := testdb.Pool(t, cluster.StandbyURL(0))
	b.tick(t)
	p := b.newest(t)
	if err := cluster.Standbys[0].WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Standbys[0].PauseReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.write(t, "a")
	b.tick(t)
	reader := eventlog.NewReader(twoHosts{b.pool, late}, 0)
	if batch, err := reader.Next(t.Context(), p); !errors.Is(err, eventlog.ErrLate) {
		t.Fatalf("read %v, %v from a host that does not show the tick; want it late", named(batch), err)
	}
	if err := cluster.Standbys[0].ResumeReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Standbys[0].WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	batch, err := reader.Next(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	wantResources(t, named(batch), "a")
}

func TestReaderLearnsKinds(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.write(t, "a")
	b.tick(t)
	reader := eventlog.NewReader(b.pool, 0)
	batch, err := reader.Next(t.Context(), b.start(t))
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, "SELECT casq.define_kind('book', 'file', queue => 'books', prefix => '/shelf/')")
	b.exec(t, "SELECT casq.append_event('book', 'b', 'created')")
	b.tick(t)
	if batch, err = reader.Next(t.Context(), batch.Next); err != nil {
		t.Fatal(err)
	}
	want := eventlog.Kind{Name: "book", Transfer: eventlog.TransferFile, Queue: "books", Prefix: "shelf", Missing: eventlog.MissingFailed}
	if batch.Kinds["book"] != want {
		t.Errorf("kind %+v, want %+v", batch.Kinds["book"], want)
	}
}
