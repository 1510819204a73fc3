package races

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	casqdb "casq/internal/database"
	"casq/internal/testing/await"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// logSite is a log, and a table of what following it has caused: the races of
// the log are about which events take effect, how often, and in which order.
type logSite struct {
	url  string
	pool *pgxpool.Pool
}

// newLogSite prepares a site in a database of its own.
func newLogSite(t *testing.T) *logSite {
	t.Helper()
	return logSiteAt(t, testdb.New(t).URL)
}

func logSiteAt(t *testing.T, databaseURL string) *logSite {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("pool_max_conns", "30") // for the transactions that stay open
	u.RawQuery = query.Encode()
	s := &logSite{url: databaseURL, pool: testdb.Pool(t, u.String())}
	execute(t, s.pool, `SELECT casq.define_kind('resource', 'none');
		CREATE TABLE applied (n bigint GENERATED ALWAYS AS IDENTITY, id bigint, resource text)`)
	return s
}

// begin opens a transaction that has appended an event for each resource.
func (s *logSite) begin(t *testing.T, resources ...string) pgx.Tx {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	for _, resource := range resources {
		_, err := eventlog.Append(t.Context(), tx, eventlog.Event{Kind: "resource", ResourceID: resource, Op: eventlog.Updated})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

func (s *logSite) commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// write commits an event for each resource, in one transaction.
func (s *logSite) write(t *testing.T, resources ...string) {
	t.Helper()
	s.commit(t, s.begin(t, resources...))
}

// tick takes a tick in any case.
func (s *logSite) tick(t *testing.T) int64 {
	t.Helper()
	id, err := eventlog.Tick(t.Context(), s.pool, true)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// start is the beginning of the log.
func (s *logSite) start(t *testing.T) eventlog.Position {
	t.Helper()
	p, err := eventlog.NewReader(s.pool, 0).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// config of the real cursor, which writes down each event that it applies.
func (s *logSite) config(t *testing.T) cursor.Config {
	t.Helper()
	home, err := casqdb.Open(t.Context(), s.url, casqdb.Options{SearchPath: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(home.Close)
	return cursor.Config{
		Name: "race", Source: s.pool, Home: home, Consumer: applier{}, Logger: slog.New(slog.DiscardHandler),
		Interval: time.Millisecond, Wait: 20 * time.Millisecond,
	}
}

// follow runs a cursor until the test ends.
func follow(t *testing.T, cfg cursor.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cursor.New(cfg).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the cursor stopped: %v", err)
		}
	})
}

// applier is the consumer. Nothing keeps it from writing an event down twice.
type applier struct{}

func (applier) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	return writeDown(ctx, tx, batch.Events)
}

func writeDown(ctx context.Context, tx pgx.Tx, events []eventlog.Event) error {
	ids, resources := make([]int64, len(events)), make([]string, len(events))
	for i, e := range events {
		ids[i], resources[i] = e.ID, e.ResourceID
	}
	_, err := tx.Exec(ctx, "INSERT INTO applied (id, resource) SELECT * FROM unnest($1::bigint[], $2::text[])", ids, resources)
	return err
}

// applied is what took effect so far, in order.
func (s *logSite) applied(t *testing.T) []string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), "SELECT resource FROM applied ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	resources, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return resources
}

// wantApplied waits for as many effects as there are resources, and compares them.
func (s *logSite) wantApplied(t *testing.T, resources ...string) {
	t.Helper()
	s.until(t, fmt.Sprintf("SELECT count(*) >= %d FROM applied", len(resources)))
	wantResources(t, s.applied(t), resources...)
}

// wantAppliedInAnyOrder is wantApplied for resources that several ticks may have
// shown, or one.
func (s *logSite) wantAppliedInAnyOrder(t *testing.T, resources ...string) {
	t.Helper()
	s.until(t, fmt.Sprintf("SELECT count(*) >= %d FROM applied", len(resources)))
	wantResources(t, slices.Sorted(slices.Values(s.applied(t))), slices.Sorted(slices.Values(resources))...)
}

func wantResources(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("applied [%s], want [%s]", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// until waits for a condition in the site's database.
func (s *logSite) until(t *testing.T, condition string) {
	t.Helper()
	await.Row(t, 3*time.Minute, s.pool, condition)
}

// resourcesOf reads the resources of the events that a twin has chosen.
func resourcesOf(t *testing.T, db eventlog.DB, sql string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return resources
}

// idPoller is the twin that remembers the highest event id it has seen.
type idPoller struct {
	db   eventlog.DB
	last int64
}

func (p *idPoller) poll(t *testing.T) []string {
	t.Helper()
	rows, err := p.db.Query(t.Context(), "SELECT id, resource_id FROM casq.events WHERE id > $1 ORDER BY id", p.last)
	if err != nil {
		t.Fatal(err)
	}
	var resources []string
	var resource string
	_, err = pgx.ForEachRow(rows, []any{&p.last, &resource}, func() error {
		resources = append(resources, resource)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return resources
}

// readOn reads from p to the newest tick in pages of that size.
func readOn(t *testing.T, db eventlog.DB, p eventlog.Position, pageSize int) ([]string, eventlog.Position) {
	t.Helper()
	reader := eventlog.NewReader(db, pageSize)
	var resources []string
	for {
		batch, err := reader.Next(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch.Events {
			resources = append(resources, e.ResourceID)
		}
		if batch.Next == p {
			return resources, p
		}
		p = batch.Next
	}
}
