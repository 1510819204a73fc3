package eventlog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// trackBundle is a migrated database, usually with tables that are tracked.
type trackBundle struct {
	db   *testdb.DB
	pool *pgxpool.Pool // as superuser
	seen int64         // the last event that events has returned
}

const (
	plainTable = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint, sha text, hits int)`

	partitionedTable = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint, sha text, hits int)
		PARTITION BY RANGE (path);
		CREATE TABLE artifacts_low PARTITION OF artifacts FOR VALUES FROM (MINVALUE) TO ('m');
		CREATE TABLE artifacts_high (hits int, sha text, size bigint, project_id bigint, path text NOT NULL)
			PARTITION BY LIST (path);
		CREATE TABLE artifacts_rest PARTITION OF artifacts_high DEFAULT;
		ALTER TABLE artifacts ATTACH PARTITION artifacts_high FOR VALUES FROM ('m') TO (MAXVALUE)`

	trackArtifacts = `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
		scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['sha'])`
)

// setupTrack returns a database in which the statements were executed.
func setupTrack(t *testing.T, statements ...string) *trackBundle {
	t.Helper()
	for _, statement := range statements {
		// Partitions are followed by event triggers, which are a superuser's.
		for _, word := range []string{"PARTITION BY", "install_event_trigger", "FOREIGN DATA"} {
			if strings.Contains(statement, word) {
				testdb.NeedsSuperuser(t)
			}
		}
	}
	db := testdb.New(t)
	b := &trackBundle{db: db, pool: db.Pool(t)}
	for _, statement := range statements {
		b.exec(t, statement)
	}
	return b
}

func (b *trackBundle) exec(t *testing.T, sql string) {
	t.Helper()
	if err := run(t.Context(), b.pool, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// executor is a pool, a connection or a transaction.
type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// run executes any number of statements, in one transaction unless they say
// otherwise.
func run(ctx context.Context, db executor, sql string) error {
	_, err := db.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// events returns what was logged since the last call, one line per event: op,
// key, scope, bytes, items, payload.
func (b *trackBundle) events(t *testing.T) []string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `
		SELECT id, format('%s %s %s %s %s %s', op, resource_id, coalesce(scope_id, '-'),
			to_char(size_delta, 'SGFM999999999999999999'), to_char(item_delta, 'SGFM99999'), payload)
		FROM casq.events WHERE id > $1 ORDER BY id`, b.seen)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	var line string
	_, err = pgx.ForEachRow(rows, []any{&b.seen, &line}, func() error {
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// wantEvents compares what was logged since the last time.
func (b *trackBundle) wantEvents(t *testing.T, want ...string) {
	t.Helper()
	if got := b.events(t); !slices.Equal(got, want) {
		t.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// wantExact compares the log with the table: the deltas add up to what is
// there, and the newest event of each key tells what is there now.
func (b *trackBundle) wantExact(t testFailer) {
	t.Helper()
	if problem := b.compare(t); problem != "" {
		t.Fatalf("log and table differ:\n%s", problem)
	}
}

// testFailer is a test, or one of rapid's.
type testFailer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (b *trackBundle) compare(t testFailer) string {
	t.Helper()
	rows, err := b.pool.Query(context.Background(), `
		WITH counted AS (
			SELECT coalesce(l.scope, r.scope) AS scope, l.size AS log_size, r.size AS table_size, l.items AS log_items, r.items AS table_items
			FROM (SELECT coalesce(scope_id, '-') AS scope, sum(size_delta) AS size, sum(item_delta) AS items
				FROM casq.events GROUP BY 1) AS l
			FULL JOIN (SELECT coalesce(project_id::text, '') AS scope, sum(coalesce(size, 0)) AS size, count(*) AS items
				FROM artifacts GROUP BY 1) AS r ON l.scope = r.scope
		), newest AS (
			SELECT DISTINCT ON (resource_id) resource_id, op, payload FROM casq.events ORDER BY resource_id, id DESC
		)
		SELECT format('scope %s: log says %s bytes, %s items, table %s, %s', scope, log_size, log_items, table_size, table_items)
		FROM counted
		WHERE (coalesce(log_size, 0), coalesce(log_items, 0)) IS DISTINCT FROM (coalesce(table_size, 0), coalesce(table_items, 0))
		UNION ALL
		SELECT format('key %s: newest event is %s %s, row is %s', coalesce(n.resource_id, a.path), n.op, n.payload, to_jsonb(a))
		FROM newest AS n FULL JOIN artifacts AS a ON a.path = n.resource_id
		WHERE CASE WHEN a.path IS NULL THEN n.op <> 'deleted'
			ELSE n.op IS NULL OR n.op = 'deleted' OR n.payload <> jsonb_build_object('sha', a.sha, 'size', a.size) END`)
	if err != nil {
		t.Fatalf("compare log and table: %v", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("compare log and table: %v", err)
	}
	return strings.Join(lines, "\n")
}

// wantRefused expects an error of casq's own with all the parts in its message,
// detail or hint.
func wantRefused(t *testing.T, err error, parts ...string) {
	t.Helper()
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		t.Fatalf("got %v; want an error with %q", err, parts)
	}
	told := strings.Join([]string{pgErr.Message, pgErr.Detail, pgErr.Hint}, "\n")
	if !strings.HasPrefix(pgErr.Message, "casq: ") {
		t.Errorf("%s: want a message of casq's own", told)
	}
	for _, part := range parts {
		if !strings.Contains(told, part) {
			t.Errorf("%s\ndoes not tell %q", told, part)
		}
	}
}

// wait returns what done sends, or fails the test.
func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-t.Context().Done():
		t.Fatal("waited for ever")
		return nil
	}
}
