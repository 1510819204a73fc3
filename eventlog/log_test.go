package eventlog_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// logBundle is a log that a test writes and reads.
type logBundle struct {
	pool *pgxpool.Pool
}

// setupLog returns an empty log that knows the kind "resource".
func setupLog(t testing.TB) *logBundle {
	t.Helper()
	return newLog(t, manyConns(t, testdb.New(t).URL))
}

// manyConns opens a pool for tests that hold many transactions open.
func manyConns(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("pool_max_conns", "20")
	u.RawQuery = query.Encode()
	return testdb.Pool(t, u.String())
}

func newLog(t testing.TB, pool *pgxpool.Pool) *logBundle {
	t.Helper()
	b := &logBundle{pool: pool}
	b.exec(t, "SELECT casq.define_kind('resource', 'none')")
	return b
}

func (b *logBundle) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// scan reads one row.
func (b *logBundle) scan(t testing.TB, sql string, into ...any) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql).Scan(into...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// begin opens a transaction, rolled back at the end unless it was committed.
func (b *logBundle) begin(t testing.TB) pgx.Tx {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

// add appends an event to tx for each of resources, in that order.
func add(t testing.TB, tx pgx.Tx, resources ...string) {
	t.Helper()
	for _, resource := range resources {
		_, err := eventlog.Append(t.Context(), tx, eventlog.Event{Kind: "resource", ResourceID: resource, Op: eventlog.Updated})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// write commits an event for each of resources, in one transaction.
func (b *logBundle) write(t testing.TB, resources ...string) {
	t.Helper()
	tx := b.begin(t)
	add(t, tx, resources...)
	commit(t, tx)
}

// tick takes a tick in any case.
func (b *logBundle) tick(t testing.TB) int64 {
	t.Helper()
	id, err := eventlog.Tick(t.Context(), b.pool, true)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// start returns the beginning of the log.
func (b *logBundle) start(t testing.TB) eventlog.Position {
	t.Helper()
	p, err := eventlog.NewReader(b.pool, 0).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newest returns the position of the newest tick.
func (b *logBundle) newest(t testing.TB) eventlog.Position {
	t.Helper()
	w, err := eventlog.NewReader(b.pool, 0).StartOver(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.Newest
}

// next reads one page.
func next(t testing.TB, db eventlog.DB, p eventlog.Position, pageSize int) eventlog.Batch {
	t.Helper()
	batch, err := eventlog.NewReader(db, pageSize).Next(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// read reads from p until nothing is left. Each page has a reader of its own,
// as after a restart.
func read(t testing.TB, db eventlog.DB, p eventlog.Position, pageSize int) (resources []string, end eventlog.Position) {
	t.Helper()
	for {
		batch := next(t, db, p, pageSize)
		if len(batch.Events) > pageSize {
			t.Fatalf("a page of %d events, asked for %d", len(batch.Events), pageSize)
		}
		resources = append(resources, named(batch)...)
		if batch.Next == p {
			return resources, p
		}
		p = batch.Next
	}
}

func named(batch eventlog.Batch) []string {
	resources := make([]string, len(batch.Events))
	for i, e := range batch.Events {
		resources[i] = e.ResourceID
	}
	return resources
}

// wantResources compares what was read, in order.
func wantResources(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("read [%s], want [%s]", strings.Join(got, " "), strings.Join(want, " "))
	}
}
