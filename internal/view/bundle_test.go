package view

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// forge is what a forge keeps: a repository's path is made of two tables, its size of a third.
	forge = `
		CREATE TABLE "user" (id bigint PRIMARY KEY, name text NOT NULL, seen timestamptz);
		CREATE TABLE repository (id bigint PRIMARY KEY, owner_id bigint NOT NULL, name text NOT NULL, bare boolean, stars int NOT NULL DEFAULT 0);
		CREATE TABLE release (id bigint PRIMARY KEY, repo_id bigint NOT NULL, size bigint NOT NULL, note text);
		` + forgeView

	forgeView = `
		CREATE VIEW repos AS
		SELECT r.id AS repo_id, u.name || '/' || r.name || '.git' AS path, r.owner_id, r.bare,
		       (SELECT coalesce(sum(l.size), 0) FROM release AS l WHERE l.repo_id = r.id) AS size
		FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id`

	people = `
		INSERT INTO "user" VALUES (1, 'ann'), (2, 'bob');
		INSERT INTO repository VALUES (1, 1, 'x', false), (2, 1, 'y', true), (3, 2, 'x', false)`

	sources = `'{"repository": "SELECT id FROM changed",
		"user": "SELECT r.id FROM changed AS u JOIN repository AS r ON r.owner_id = u.id",
		"release": "SELECT repo_id FROM changed"}'`

	trackRepos = `SELECT casq.track_view('repos', kind => 'repository', transfer => 'git', id_column => 'repo_id', key_column => 'path',
		scope_column => 'owner_id', size_column => 'size', payload_columns => ARRAY['bare'], sources => ` + sources + `)`
)

// testBundle is a migrated database, usually with a tracked view.
type testBundle struct {
	db     *testdb.DB
	pool   *pgxpool.Pool
	keeper *keeper
	at     eventlog.Position
	seen   int64 // the last event that events has returned
}

// setup returns a database in which the statements were executed.
func setup(t *testing.T, statements ...string) *testBundle {
	t.Helper()
	db := testdb.New(t)
	pool := db.Pool(t)
	b := &testBundle{db: db, pool: pool, keeper: newKeeper(Config{Home: pool, Logger: slog.New(slog.DiscardHandler)})}
	for _, statement := range statements {
		b.exec(t, statement)
	}
	return b
}

// tracked returns a forge whose repositories are tracked and followed.
func tracked(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t, forge, people, trackRepos)
	b.follow(t)
	b.events(t)
	return b
}

func (b *testBundle) exec(t *testing.T, sql string) {
	t.Helper()
	if err := run(t.Context(), b.pool, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// run executes any number of statements, in one transaction unless they say otherwise.
func run(ctx context.Context, db executor, sql string) error {
	_, err := db.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// follow takes a tick and applies what it shows, then all that is due, and looks at the sources.
func (b *testBundle) follow(t *testing.T) {
	t.Helper()
	b.apply(t)
	if err := b.keeper.round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// apply takes a tick and applies what it shows.
func (b *testBundle) apply(t *testing.T) {
	t.Helper()
	if _, err := eventlog.Tick(t.Context(), b.pool, true); err != nil {
		t.Fatal(err)
	}
	reader := eventlog.NewSourceReader(b.pool, pageRows)
	if b.at == (eventlog.Position{}) {
		var err error
		if b.at, err = reader.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for {
		batch, err := reader.NextWithin(t.Context(), b.at, pageRows, pageBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Events) > 0 {
			err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error { return consumer{}.Apply(t.Context(), tx, batch) })
			if err != nil {
				t.Fatal(err)
			}
		}
		if b.at = batch.Next; !b.at.InStep() {
			return
		}
	}
}

// lines returns what a query returns, which is text.
func (b *testBundle) lines(t *testing.T, sql string, args ...any) []string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return lines
}

func (b *testBundle) want(t *testing.T, sql string, want ...string) {
	t.Helper()
	if got := b.lines(t, sql); !slices.Equal(got, want) {
		t.Errorf("%s:\n\t%s\nwant:\n\t%s", sql, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// events returns what was logged since the last call: op, key, scope, bytes, items, the key
// that it has moved to or from.
func (b *testBundle) events(t *testing.T) []string {
	t.Helper()
	lines := b.lines(t, `SELECT format('%s %s %s %s %s%s', op, resource_id, coalesce(scope_id, '-'), size_delta, item_delta, ' | ' || NULLIF(moved, ''))
		FROM casq.events WHERE id > $1 ORDER BY id`, b.seen)
	if err := b.pool.QueryRow(t.Context(), "SELECT coalesce(max(id), 0) FROM casq.events").Scan(&b.seen); err != nil {
		t.Fatal(err)
	}
	return lines
}

func (b *testBundle) wantEvents(t *testing.T, want ...string) {
	t.Helper()
	if got := b.events(t); !slices.Equal(got, want) {
		t.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// wantSame compares the view with its image, and both with what the log says.
func (b *testBundle) wantSame(t testFailer) {
	t.Helper()
	rows, err := b.pool.Query(context.Background(), `
		WITH newest AS (SELECT DISTINCT ON (resource_id) * FROM casq.events WHERE kind = 'repository' ORDER BY resource_id, id DESC)
		SELECT format('view has %s, image has %s', v, i)
		FROM (SELECT repo_id, path, owner_id, size::bigint, bare FROM repos) AS v
		FULL JOIN (SELECT repo_id, path, owner_id, size, bare FROM casq.image_repository) AS i ON i.repo_id = v.repo_id
		WHERE v::text IS DISTINCT FROM i::text
		UNION ALL
		SELECT format('%s: log says %s %s, view has %s', coalesce(n.resource_id, v.path), n.op, n.payload, v)
		FROM newest AS n FULL JOIN repos AS v ON v.path = n.resource_id
		WHERE CASE WHEN v.path IS NULL THEN n.op <> 'deleted' ELSE n.op IS NULL OR n.op = 'deleted'
			OR n.payload <> jsonb_build_object('bare', v.bare, 'size', v.size) END
		UNION ALL
		SELECT format('scope %s: log says %s, %s', coalesce(e.scope_id, v.scope), e.size, e.items)
		FROM (SELECT scope_id, sum(size_delta) AS size, sum(item_delta) AS items FROM casq.events WHERE kind = 'repository' GROUP BY 1) AS e
		FULL JOIN (SELECT owner_id::text AS scope, sum(size) AS size, count(*) AS items FROM repos GROUP BY 1) AS v ON v.scope = e.scope_id
		WHERE (coalesce(e.size, 0), coalesce(e.items, 0)) IS DISTINCT FROM (coalesce(v.size, 0), coalesce(v.items, 0))
		UNION ALL
		SELECT format('%s of kind %s: %s', p.id, p.kind, p.reason) FROM casq.view_ids AS p
		UNION ALL
		SELECT format('kind %s: %s', w.kind, w.error) FROM casq.views AS w WHERE w.error IS NOT NULL`)
	if err != nil {
		t.Fatalf("compare view and image: %v", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("compare view and image: %v", err)
	}
	if len(lines) > 0 {
		t.Fatalf("view and image differ:\n\t%s", strings.Join(lines, "\n\t"))
	}
}

// testFailer is a test, or one of rapid's.
type testFailer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wantRefused expects an error of casq's own with all the parts in its message, detail or hint.
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

// untilSame follows until the view and its image are the same: some comparisons wait for
// transactions of before, which may be another test's.
func (b *testBundle) untilSame(t *testing.T) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(b.lines(t, "SELECT v::text FROM casq.views AS v"), b.lines(t, "SELECT s::text FROM casq.sources AS s"))
		}
	}()
	await.Row(t, 30*time.Second, polled{b, t}, `SELECT NOT EXISTS (SELECT FROM casq.views WHERE compare_asked_at IS NOT NULL OR error IS NOT NULL)`)
	b.wantSame(t)
}

// polled follows before each question.
type polled struct {
	*testBundle
	t *testing.T
}

func (p polled) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	p.t.Helper()
	if err := p.keeper.round(ctx); err != nil {
		p.t.Fatal(err)
	}
	return p.pool.QueryRow(ctx, sql, args...)
}
