package view

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"

	"github.com/jackc/pgx/v5"
)

// comesTo follows until a query returns this: a comparison waits for all transactions of the
// server that may have noted by an older function.
func (b *testBundle) comesTo(t *testing.T, sql string, want ...string) {
	t.Helper()
	await.Nil(t, 30*time.Second, sql, func() error {
		b.follow(t)
		if got := b.lines(t, sql); !slices.Equal(got, want) {
			return fmt.Errorf("%q, not %q", got, want)
		}
		return nil
	})
}

const comparing = "SELECT kind FROM casq.view_status WHERE filled_at IS NULL OR comparing_since IS NOT NULL"

// Columns that are called as the variables of a trigger's function are.
func TestColumnsCalledAsVariables(t *testing.T) {
	t.Parallel()
	b := setup(t, `CREATE TABLE s (id int PRIMARY KEY, stale text, casq_stale text, found int, tg_op text, "new" int, "old" int, i int, r int, s int);
		CREATE VIEW v AS SELECT id, concat_ws('/', id, stale, casq_stale, found, tg_op, "new", "old", i, r, s) AS path FROM s;
		SELECT casq.track_view('v', kind => 'k', transfer => 'none', id_column => 'id', key_column => 'path',
			sources => '{"s": "SELECT id FROM changed WHERE (stale, casq_stale, found, tg_op, \"new\", \"old\", i, r, s) IS NOT NULL OR true"}')`)
	b.exec(t, `INSERT INTO s VALUES (1, 'a', 'b', 1, 'c', 2, 3, 4, 5, 6)`)
	b.exec(t, `UPDATE s SET found = 7`)
	b.follow(t)
	b.want(t, "SELECT path FROM casq.image_k", "1/a/b/7/c/2/3/4/5/6")
	b.exec(t, "DELETE FROM s")
	b.follow(t)
	b.want(t, "SELECT path FROM casq.image_k")
}

// Values that no note can have: jsonb has an end, and so has the patience of whoever writes.
func TestLargeValuesOfASource(t *testing.T) {
	t.Parallel()
	b := setup(t, `CREATE TABLE s (id int PRIMARY KEY, body text);
		CREATE VIEW v AS SELECT id, id || '/' || octet_length(body) || '/' || left(body, 1) AS path FROM s;
		SELECT casq.track_view('v', kind => 'k', transfer => 'none', id_column => 'id', key_column => 'path',
			sources => '{"s": "SELECT id FROM changed WHERE body IS NOT NULL"}')`)
	b.exec(t, `INSERT INTO s SELECT i, repeat('a', 2000000) FROM generate_series(1, 140) AS i`)
	b.follow(t)
	b.want(t, "SELECT count(*)::text FROM casq.image_k WHERE path LIKE '%/a'", "140")
	b.exec(t, `UPDATE s SET body = repeat('b', 2000000) WHERE id = 7`)
	b.want(t, "SELECT count(*)::text FROM casq.source_changes WHERE rows IS NULL AND id = (SELECT max(id) FROM casq.source_changes)", "1")
	b.follow(t)
	b.want(t, "SELECT path FROM casq.image_k WHERE id = 7", "7/2000000/b")
}

// A view is replaced, and a transaction writes a column that only the new one names while
// the triggers' functions are made anew, where no event trigger has done so.
//
// It runs alone: a comparison that waits for other transactions is not this race.
func TestReplacedWhileItIsWritten(t *testing.T) {
	b := setup(t, `CREATE TABLE s (id int PRIMARY KEY, stars int);
		INSERT INTO s VALUES (1, 0);
		CREATE VIEW v AS SELECT id, 'p' || id AS path FROM s;
		SELECT casq.track_view('v', kind => 'k', transfer => 'none', id_column => 'id', key_column => 'path', sources => '{"s": "SELECT id FROM changed"}')`)
	b.comesTo(t, comparing)
	b.exec(t, "DROP EVENT TRIGGER IF EXISTS casq_ddl")
	b.exec(t, "CREATE OR REPLACE VIEW v AS SELECT id, 'p' || id || '-' || stars AS path FROM s")
	b.exec(t, "SELECT casq.compare_view('k')")
	worker, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), worker, "SELECT casq.do_view('k', '1 day')"); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE s SET stars = 9") // by the function of before
	if err := worker.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.comesTo(t, "SELECT path FROM casq.image_k", "p1-9")
}

// Nothing of its sources changes after a view was replaced, and no event trigger tells.
func TestReplacedAndLeftAlone(t *testing.T) {
	t.Parallel()
	b := tracked(t)
	b.comesTo(t, comparing)
	b.exec(t, "DROP EVENT TRIGGER IF EXISTS casq_ddl")
	b.exec(t, `CREATE OR REPLACE VIEW repos AS
		SELECT r.id AS repo_id, u.name || '/new-' || r.name || '.git' AS path, r.owner_id, r.bare,
		       (SELECT coalesce(sum(l.size), 0) FROM release AS l WHERE l.repo_id = r.id) AS size
		FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id`)
	if err := b.keeper.watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.comesTo(t, "SELECT path FROM casq.image_repository ORDER BY path", "ann/new-x.git", "ann/new-y.git", "bob/new-x.git")
}

// One row for which a function says no, in words of its own.
func TestOneRowThatIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, `CREATE TABLE s (id int PRIMARY KEY, size numeric, bad boolean);
		CREATE FUNCTION checked(bad boolean) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF bad THEN RAISE EXCEPTION 'no'; END IF; RETURN 'p'; END $$;
		CREATE VIEW v AS SELECT id, checked(bad) || id AS path, size FROM s;
		SELECT casq.track_view('v', kind => 'k', transfer => 'none', id_column => 'id', key_column => 'path', size_column => 'size',
			sources => '{"s": "SELECT id FROM changed"}')`)
	b.exec(t, "INSERT INTO s VALUES (1, 1, false), (2, 'NaN', false), (3, 3, true), (4, 4, false)")
	b.follow(t)
	b.want(t, "SELECT path FROM casq.image_k ORDER BY path", "p1", "p4")
	b.want(t, "SELECT id FROM casq.view_ids WHERE reason IS NOT NULL ORDER BY id", "2", "3")
	b.want(t, "SELECT error FROM casq.view_status WHERE error IS NOT NULL")
}

// A transaction that has locked a table gives way to those of the application that have
// another one which it wants, and is the one that fails.
func TestTrackingGivesWay(t *testing.T) {
	t.Parallel()
	b := setup(t, forge, people)
	application, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), application, `UPDATE "user" SET seen = now()`); err != nil {
		t.Fatal(err)
	}
	operator, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), operator, "LOCK TABLE release IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error)
	go func() { wrote <- run(t.Context(), application, "INSERT INTO release VALUES (1, 1, 5, '')") }()
	err = run(t.Context(), operator, trackRepos)
	if err == nil || !strings.Contains(err.Error(), "release before, which others may wait for") {
		t.Errorf("tracked with a table locked before: %v", err)
	}
	if err := operator.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the application failed: %v", err)
	}
	if err := application.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		if err := run(t.Context(), tx, `SELECT casq.lock_sources('{repository,release,"user"}', 'SHARE ROW EXCLUSIVE')`); err != nil {
			return err
		}
		return run(t.Context(), tx, trackRepos)
	})
	if err != nil {
		t.Errorf("with all of them locked at the beginning: %v", err)
	}
}
