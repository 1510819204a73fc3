package view

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// Whatever an application's session is like, and whatever it writes, its statements go on,
// and the image becomes the view.
func TestApplication(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, statements := range map[string][]string{
		"no search_path":   {`SET search_path = ''`, `UPDATE public.repository SET name = 'z' WHERE id = 1`},
		"another one":      {`CREATE SCHEMA s; CREATE TABLE s.repository (id text); CREATE TABLE s.release (id text); SET search_path = s, public`, `UPDATE public.repository SET name = 'z' WHERE id = 1; INSERT INTO public.release VALUES (1, 1, 1)`},
		"settings":         {`SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET bytea_output = 'escape'; SET extra_float_digits = -5`, `UPDATE repository SET name = 'z' WHERE id = 1`},
		"as a subscriber":  {`SET session_replication_role = 'replica'`, `UPDATE repository SET name = 'z' WHERE id = 1`},
		"repeatable read":  {`BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE repository SET name = 'z' WHERE id = 1; UPDATE "user" SET name = 'rob' WHERE id = 2; COMMIT`},
		"serializable":     {`BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE repository SET name = 'z' WHERE id = 1; UPDATE "user" SET name = 'rob' WHERE id = 2; COMMIT`},
		"savepoints":       {`BEGIN; SAVEPOINT a; UPDATE repository SET name = 'z' WHERE id = 1; ROLLBACK TO a; UPDATE repository SET name = 'w' WHERE id = 1; COMMIT`},
		"a merge":          {`MERGE INTO repository AS r USING (VALUES (1, 'w'), (9, 'n')) AS v (id, name) ON r.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT VALUES (v.id, 1, v.name)`},
		"a cascade":        {`ALTER TABLE repository ADD FOREIGN KEY (owner_id) REFERENCES "user" ON DELETE CASCADE ON UPDATE CASCADE`, `UPDATE "user" SET id = 9 WHERE id = 1; DELETE FROM "user" WHERE id = 2`},
		"a copy":           {`CREATE TABLE more AS SELECT 4::bigint AS id, 2::bigint AS owner_id, 'w' AS name; INSERT INTO repository SELECT * FROM more`},
		"a column renamed": {`DROP EVENT TRIGGER casq_ddl; ALTER TABLE repository RENAME name TO called`, `UPDATE repository SET called = 'z' WHERE id = 1`},
		"a table renamed":  {`ALTER TABLE release RENAME TO releases`, `INSERT INTO releases VALUES (1, 1, 1)`},
		"another column":   {`ALTER TABLE repository DROP stars; ALTER TABLE repository ADD more text`, `UPDATE repository SET name = 'z', more = 'x' WHERE id = 1`},
		"a large value":    {`UPDATE repository SET name = 'z' WHERE id = 1; UPDATE release SET note = repeat('x', 30000000); INSERT INTO release VALUES (7, 1, 2, repeat('x', 30000000))`},
		"all rows":         {`INSERT INTO repository SELECT n, 1 + n % 2, 'r' || n FROM generate_series(100, 6000) AS n`, `UPDATE repository SET name = name || 'z'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(statements[0], "EVENT TRIGGER") || strings.Contains(statements[0], "replication_role") {
				testdb.NeedsSuperuser(t)
			}
			b := tracked(t)
			b.alone(t, statements...)
			b.follow(t)
			b.untilSame(t)
		})
	}
}

// alone executes statements in one session, in each of their own transactions.
func (b *testBundle) alone(t *testing.T, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, statement := range statements {
		if err := run(t.Context(), conn, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Types of which jsonb has no value, and values that are too large for a note: the statement
// succeeds, and the note says what it can.
func TestNotedValues(t *testing.T) {
	t.Parallel()
	b := setup(t, `CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN label AS text CHECK (length(VALUE) > 0);
		CREATE TABLE item (id bigint PRIMARY KEY, body json, raw bytea, price numeric, at timestamptz, mood mood, label label, tags text[], long text, span int4range);
		CREATE VIEW items AS SELECT id, id::text || coalesce(label, '') || coalesce(mood::text, '') AS key, item AS whole FROM item;
		SELECT casq.track_view('items', kind => 'item', transfer => 'none', id_column => 'id', key_column => 'key',
			sources => '{"item": "SELECT id FROM changed AS c WHERE c.body IS NULL OR c.raw IS NULL OR c.price IS NULL OR c.at IS NULL OR c.mood IS NULL OR c.label IS NULL OR c.tags IS NULL OR c.long IS NULL OR c.span IS NULL OR c.id > 0"}')`)
	b.follow(t)
	b.exec(t, `SET TimeZone = 'Asia/Kolkata'; INSERT INTO item VALUES (1, '{"a":"\u0000"}', '\x00ff', 'NaN', '2026-01-01 12:00+00', 'good', 'x', '{a,"b c"}', 'short', '[1,3)');
		INSERT INTO item (id) VALUES (2);
		UPDATE item SET price = 1.50, at = 'infinity' WHERE id = 2`)
	b.want(t, `SELECT r::text FROM casq.source_changes, jsonb_array_elements(rows) AS r WHERE r ->> 'price' IS NOT NULL ORDER BY r ->> 'id'`,
		`{"at": "2026-01-01T12:00:00+00:00", "id": 1, "raw": "\\x00ff", "body": "{\"a\":\"\\u0000\"}", "long": "short", "mood": "good", "span": "[1,3)", "tags": "{a,\"b c\"}", "label": "x", "price": "NaN"}`,
		`{"at": "infinity", "id": 2, "raw": null, "body": null, "long": null, "mood": null, "span": null, "tags": null, "label": null, "price": "1.50"}`)
	b.follow(t)
	b.want(t, "SELECT key FROM casq.image_item ORDER BY id", "1xgood", "2")
	b.exec(t, `UPDATE item SET long = repeat('x', 20000), label = 'y' WHERE id = 2`)
	b.want(t, "SELECT coalesce(rows::text, 'any') FROM casq.source_changes ORDER BY id DESC LIMIT 1", "any")
	b.follow(t)
	b.want(t, "SELECT key FROM casq.image_item ORDER BY id", "1xgood", "2y")
}

// The application waits for nobody: not for the consumer in the middle of a batch, nor for a view
// that is tracked by another one, nor for whoever is away.
func TestApplicationDoesNotWait(t *testing.T) {
	t.Parallel()
	b := tracked(t)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	// What a batch that is frozen holds, and more.
	if err := run(t.Context(), tx, `SELECT casq.apply_source_changes(array_agg(id), array_agg(NULL::jsonb)) FROM casq.sources;
		SELECT * FROM casq.views FOR UPDATE; LOCK TABLE casq.image_repository, casq.view_ids, casq.cursors, casq.ticks; DELETE FROM casq.source_changes`); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.alone(t, `SET lock_timeout = '1ms'`, fmt.Sprintf(`UPDATE repository SET name = 'z%d' WHERE id = 1; UPDATE "user" SET name = 'rob%d' WHERE id = 2; INSERT INTO release VALUES (%d, 1, 1)`, i, i, i))
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.follow(t)
	b.wantSame(t)
}

// To track a view waits for transactions that have written its sources, whichever they want
// next, and has none of them fail; so does to give it up.
func TestTrackingDoesNotDeadlock(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, people)
	for _, step := range [][2]string{{"track", trackRepos}, {"untrack", `SELECT casq.untrack(kind => 'repository')`}} {
		name, sql := step[0], step[1]
		tx, err := b.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(t.Context()) }()
		if err := run(t.Context(), tx, `UPDATE repository SET stars = 1`); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- run(context.WithoutCancel(t.Context()), b.pool, sql) }()
		await.Row(t, 30*time.Second, b.pool, `SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_locks AS h USING (pid) WHERE l.relation = 'repository'::regclass
			AND NOT l.granted AND h.granted AND h.relation IN ('"user"'::regclass, 'release'::regclass) AND h.mode IN ('ShareRowExclusiveLock', 'AccessExclusiveLock'))`)
		if err := run(t.Context(), tx, `UPDATE "user" SET name = name || 'x'; UPDATE release SET size = 1; COMMIT`); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.follow(t)
		if name == "track" {
			b.wantSame(t)
		}
	}
	// It gives up when it is told to.
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if err := run(t.Context(), tx, `UPDATE repository SET stars = 1`); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), b.pool, `SET lock_timeout = '10ms'; `+trackRepos); err == nil || !strings.Contains(err.Error(), "lock timeout") {
		t.Errorf("got %v, want it to give up", err)
	}
}

// The application's role needs nothing of casq, and a worker's role owns nothing; what it
// follows is pruned, and no other cursor is said to be behind for it.
func TestRun(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, people, trackRepos)
	applicationURL, workerURL := b.db.RoleURL(t), b.db.RoleURL(t)
	b.exec(t, fmt.Sprintf(`GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON repository, "user", release TO %s; SELECT casq.grant_to('%s', 'worker')`,
		testdb.RoleName(t, applicationURL), testdb.RoleName(t, workerURL)))
	application := testdb.Pool(t, applicationURL)
	ctx, cancel := context.WithCancel(t.Context())
	home := testdb.Pool(t, workerURL)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for range 2 {
		group.Go(func() {
			if err := Run(ctx, Config{Home: home, Logger: slog.New(slog.DiscardHandler)}); err != nil {
				t.Error(err)
			}
		})
	}
	ticker := eventlog.Ticker{Pool: home, Logger: slog.New(slog.DiscardHandler)}
	group.Go(func() { ticker.Run(ctx) })
	await.Row(t, 30*time.Second, b.pool, "SELECT filled_at IS NOT NULL FROM casq.view_status")
	for i := range 20 {
		if err := run(t.Context(), application, fmt.Sprintf(`UPDATE "user" SET name = 'u%d' WHERE id = 2; INSERT INTO release VALUES (%d, 1, 1); UPDATE repository SET owner_id = 3 - owner_id WHERE id = 2`, i, i)); err != nil {
			t.Fatal(err)
		}
	}
	await.Row(t, 30*time.Second, b.pool, `SELECT NOT EXISTS (SELECT repo_id, path, size::bigint FROM repos EXCEPT SELECT repo_id, path, size FROM casq.image_repository)
		AND (SELECT lag_events = 0 FROM casq.cursor_status WHERE name = 'views')`)
	b.wantSame(t)
	await.Row(t, 30*time.Second, b.pool, "SELECT casq.prune_source_changes() IS NOT NULL AND NOT EXISTS (SELECT FROM casq.source_changes)")
}
