package view

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/registry"
)

// track returns casq.track_view over repos, with other words for some of it.
func track(replace ...string) string { return replaced(trackRepos, replace...) }

func replaced(text string, replace ...string) string {
	return strings.NewReplacer(replace...).Replace(text)
}

// What cannot be followed is refused, in words, and changes nothing.
func TestRefused(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, people, `
		CREATE MATERIALIZED VIEW kept AS SELECT * FROM repos;
		CREATE VIEW twice AS SELECT r.* FROM repos AS r, "user";
		CREATE VIEW floating AS SELECT repo_id, path, owner_id, bare, size FROM repos WHERE random() < 2;
		CREATE VIEW timely AS SELECT * FROM repos WHERE now() > '2000-01-01';
		CREATE VIEW aging AS SELECT r.* FROM repos AS r JOIN "user" AS u ON u.id = r.owner_id WHERE age(u.seen) IS NOT NULL;
		CREATE VIEW current AS SELECT * FROM repos WHERE CURRENT_DATE > '2000-01-01';
		CREATE VIEW dated AS SELECT repo_id, now_at AS path, owner_id, bare, size FROM repos, (VALUES ('2000-01-01'::date)) AS v (now_at);
		CREATE FUNCTION any_of(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT $1';
		CREATE VIEW calling AS SELECT repo_id, path, any_of(owner_id) AS owner_id, bare, size FROM repos;
		CREATE TABLE parted (id bigint, repo_id bigint) PARTITION BY LIST (id);
		CREATE UNLOGGED TABLE unlogged (id bigint)`)
	one := func(table, query string) []string {
		return []string{sources, fmt.Sprintf(`'{%q: %q}'`, table, query)}
	}
	for name, test := range map[string]struct {
		sql  string
		want []string
	}{
		"a table":               {track("'repos'", "'repository'"), []string{"repository is not a view", "casq.track"}},
		"a materialized view":   {track("'repos'", "'kept'"), []string{"kept is not a view"}},
		"an id twice":           {track("'repos'", "'twice'"), []string{"twice has repo_id", "more than once"}},
		"a volatile function":   {track("'repos'", "'floating'"), []string{"calls random()"}},
		"one of the user's own": {track("'repos'", "'calling'"), []string{"calls public.any_of(bigint)"}},
		"the time":              {track("'repos'", "'timely'"), []string{"calls now()"}},
		"an age":                {track("'repos'", "'aging'"), []string{"calls age(timestamp with time zone)"}},
		"the day":               {track("'repos'", "'current'"), []string{"CURRENT_TIMESTAMP"}},
		"no such column":        {track("key_column => 'path'", "key_column => 'way'"), []string{"has no column way"}},
		"a key that is a date":  {track("'repos'", "'dated'"), []string{"column path of view public.dated has type date", "cast"}},
		"no id":                 {track("id_column => 'repo_id'", "id_column => NULL"), []string{"id_column"}},
		"no sources":            {track(sources, "'{}'"), []string{"needs the sources"}},
		"a source of no table":  {track(one("repositories", "SELECT id FROM changed")...), []string{"no table 'repositories'"}},
		"a partitioned source":  {track(one("parted", "SELECT repo_id FROM changed")...), []string{"parted is partitioned", "ordinary tables"}},
		"an unlogged source":    {track(one("unlogged", "SELECT id FROM changed")...), []string{"unlogged"}},
		"a view as source":      {track(one("repos", "SELECT repo_id FROM changed")...), []string{"repos is not an ordinary"}},
		"a query in error":      {track(one("repository", "SELECT id FRM changed")...), []string{"the query of source public.repository", "syntax error"}},
		"no such column in it":  {track(one("repository", "SELECT way FROM changed")...), []string{"column \"way\" does not exist"}},
		"two columns":           {track(one("repository", "SELECT id, name FROM changed")...), []string{"does not lead from changed rows to ids"}},
		"not from changed":      {track(one("repository", "SELECT id FROM repository")...), []string{"does not lead from changed rows to ids"}},
		"ids of another type":   {track(one("repository", "SELECT name FROM changed")...), []string{"returns text, and ids of view public.repos are bigint"}},
		"casq's own":            {track(one("repository", "SELECT c.id FROM changed AS c, kinds")...), []string{"reads casq.kinds", "search_path"}},
		"the view itself":       {track(one("repository", "SELECT r.repo_id FROM changed AS c JOIN repos AS r ON r.repo_id = c.id")...), []string{"may not read view public.repos"}},
		"no kind":               {track("kind => 'repository'", "kind => 'Repository'"), []string{"no name for a kind"}},
		"a prefix that is none": {track("transfer => 'git'", "transfer => 'git', prefix => '../x'"), []string{"not a folder"}},
	} {
		wantRefused(t, func() error { return run(t.Context(), b.pool, test.sql) }(), test.want...)
		if t.Failed() {
			t.Fatalf("after %s: %s", name, test.sql)
		}
	}
	b.want(t, `SELECT 'view of ' || kind FROM casq.views UNION ALL SELECT kind FROM casq.kinds UNION ALL SELECT name FROM casq.sources
		UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'casq_note%'
		UNION ALL SELECT relname::text FROM pg_class WHERE relnamespace = 'casq'::regnamespace AND relname ~ '^(image|ids|changed)_'`)
}

// To track a view again changes nothing; otherwise it is refused, until it is not any more.
func TestTrackedAgain(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := tracked(t)
	b.exec(t, trackRepos)
	b.follow(t)
	b.wantEvents(t)
	b.wantSame(t)
	wantRefused(t, run(t.Context(), b.pool, track("key_column => 'path'", "key_column => 'owner_id'")), "tracked otherwise", "casq.untrack")
	wantRefused(t, run(t.Context(), b.pool, track("kind => 'repository'", "kind => 'mirror'")), "tracked otherwise")
	b.exec(t, "CREATE VIEW wikis AS SELECT repo_id, path || '.wiki' AS path, owner_id, bare, size FROM repos")
	b.exec(t, track("'repos'", "'wikis'", "kind => 'repository'", "kind => 'wiki'"))
	b.exec(t, `UPDATE "user" SET name = 'anna' WHERE id = 1`)
	b.want(t, "SELECT count(*)::text FROM casq.source_changes", "1") // for both
	b.follow(t)
	b.wantSame(t)
	b.want(t, "SELECT path FROM casq.image_wiki ORDER BY repo_id", "anna/x.git.wiki", "anna/y.git.wiki", "bob/x.git.wiki")

	b.exec(t, "SELECT casq.untrack('repos')")
	b.exec(t, `UPDATE "user" SET name = 'ann' WHERE id = 1`)
	b.follow(t)
	b.want(t, "SELECT path FROM casq.image_wiki ORDER BY repo_id", "ann/x.git.wiki", "ann/y.git.wiki", "bob/x.git.wiki")
	b.exec(t, "SELECT casq.untrack(kind => 'wiki')")
	b.want(t, `SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'casq%note%'
		UNION ALL SELECT proname::text FROM pg_proc WHERE proname ~ '^note_[0-9]'
		UNION ALL SELECT relname::text FROM pg_class WHERE relnamespace = 'casq'::regnamespace AND relname ~ '^(image|ids|changed)_'
		UNION ALL SELECT name FROM casq.sources UNION ALL SELECT id::text FROM casq.source_changes UNION ALL SELECT name FROM casq.cursors`)
	b.exec(t, "DROP VIEW wikis; DROP TABLE release CASCADE")
}

// While a view is filled for the first time, what its image lacks is not gone: nothing is
// listed of it. That ends in the middle, and goes on.
func TestFirstFill(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, `INSERT INTO "user" VALUES (1, 'ann'); INSERT INTO repository SELECT n, 1, n::text FROM generate_series(1, 25) AS n`, trackRepos)
	listed := func(want string) {
		t.Helper()
		b.want(t, `SELECT listed::text FROM casq.resources('repository', NULL, 10, NULL)
			UNION ALL SELECT listed::text FROM casq.resources_of('repository', ARRAY['ann/1.git'], NULL)
			UNION ALL SELECT listed::text FROM casq.resources_missing('repository', ARRAY['ann/1.git'], NULL)`, want, want, want)
	}
	page := "SELECT casq.do_view('repository', '1 day', 10)::text"
	b.want(t, page, "true")
	b.want(t, "SELECT format('%s %s', filled_at IS NULL, compared_to) FROM casq.view_status", "t 10")
	listed("false")
	b.exec(t, `UPDATE repository SET name = 'z' WHERE id IN (3, 20)`) // one that it is past, one that it is not
	b.apply(t)
	b.want(t, page, "true")
	b.want(t, page, "true")
	listed("false")
	b.want(t, page, "true")
	listed("true")
	b.want(t, page, "false")
	b.exec(t, `UPDATE repository SET name = 'w' WHERE id = 20`)
	b.follow(t)
	b.wantSame(t)
}

// What a first fill finds has not happened now, and neither has what a replaced view shows:
// its events yield to those of changes, which come meanwhile.
func TestAFillYields(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, `INSERT INTO "user" VALUES (1, 'ann'); INSERT INTO repository SELECT n, 1, n::text FROM generate_series(1, 25) AS n`, trackRepos)
	told := func(want ...string) {
		t.Helper()
		b.want(t, `SELECT format('%s %s %s', bulk, op, count(*)) FROM casq.events GROUP BY bulk, op ORDER BY 1`, want...)
		b.exec(t, "DELETE FROM casq.events")
	}
	b.exec(t, "SELECT casq.do_view('repository', '1 day', 10)")
	told("t created 10")
	b.exec(t, `UPDATE repository SET name = 'z' WHERE id = 3; INSERT INTO repository VALUES (99, 1, 'new')`)
	b.apply(t)
	told("f created 2", "f deleted 1")
	for range 4 {
		b.exec(t, "SELECT casq.do_view('repository', '1 day', 10)")
	}
	told("t created 15")
	b.exec(t, "UPDATE casq.image_repository SET path = 'damaged' WHERE repo_id = 4; DELETE FROM casq.events; SELECT casq.compare_view('repository')")
	b.follow(t)
	told("f created 1", "f deleted 1") // it may have been missed a moment ago
	b.exec(t, `CREATE OR REPLACE VIEW repos AS
		SELECT r.id AS repo_id, u.name || '-' || r.name || '.git' AS path, r.owner_id, r.bare,
		       (SELECT coalesce(sum(l.size), 0) FROM release AS l WHERE l.repo_id = r.id) AS size
		FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id`)
	if err := b.keeper.watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	await.True(t, 20*time.Second, "the view is compared", func() (filled bool) {
		b.follow(t)
		err := b.pool.QueryRow(t.Context(), "SELECT NOT fills FROM casq.views").Scan(&filled)
		return err == nil && filled
	})
	told("t created 26", "t deleted 26")
}

// reconcileIt stands for a reconcile that somebody asks for.
const reconcileIt = "reconcile"

// What nobody has noted is found by comparing: a trigger was disabled, the view replaced,
// rows of the image damaged, the log adopted. Nothing is written where nothing differs.
func TestCompared(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, test := range map[string]struct{ missed, then string }{
		"trigger disabled": {`SET casq.aligning = 'on'; ALTER TABLE repository DISABLE TRIGGER ALL; UPDATE repository SET name = 'z' WHERE id = 1`, ``},
		"view replaced": {``, `CREATE OR REPLACE VIEW repos AS
			SELECT r.id AS repo_id, u.name || '-' || r.name || '.git' AS path, r.owner_id, r.bare,
			       (SELECT coalesce(sum(l.size), 0) FROM release AS l WHERE l.repo_id = r.id) AS size
			FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id WHERE r.stars < 5; UPDATE repository SET stars = 7 WHERE id = 2`},
		"asked for":   {`UPDATE repository SET name = name || 'z'; DELETE FROM casq.source_changes`, `SELECT casq.compare_view('repository')`},
		"reconciled":  {`UPDATE repository SET name = name || 'z'; DELETE FROM casq.source_changes`, reconcileIt},
		"backfilled":  {`UPDATE repository SET name = name || 'z'; DELETE FROM casq.source_changes`, `SELECT casq.backfill_page('repository', NULL, 10)`},
		"log adopted": {`UPDATE repository SET name = 'z' WHERE id = 3`, `SELECT casq.compare_views(anew => true)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "trigger disabled" {
				testdb.NeedsSuperuser(t)
			}
			b := tracked(t)
			b.exec(t, "SELECT casq.compare_view('repository')")
			b.follow(t)
			b.wantEvents(t)
			if test.missed != "" {
				b.exec(t, test.missed)
			}
			switch test.then {
			case "":
			case reconcileIt:
				if err := registry.CompareViews(t.Context(), b.pool, "repository"); err != nil {
					t.Fatal(err)
				}
			default:
				b.exec(t, test.then)
			}
			if err := b.keeper.watch(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.untilSame(t)
		})
	}
}

// Who asks for a comparison waits for no application that holds a view up.
func TestCompareWaitsForNobody(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := tracked(t)
	held, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback(t.Context()) }()
	if _, err := held.Exec(t.Context(), "SELECT FROM casq.views FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if err := registry.CompareViews(t.Context(), b.pool, ""); database.Code(err) != "55P03" {
		t.Errorf("got %v, want that the lock is not waited for", err)
	}
}

// A view that cannot be evaluated is told of, holds up nothing else, and comes right.
func TestBrokenView(t *testing.T) {
	long.Test(t)
	testdb.NeedsSuperuser(t)
	t.Parallel()
	b := tracked(t)
	b.exec(t, `CREATE TABLE other (id bigint PRIMARY KEY, per int NOT NULL);
		CREATE VIEW others AS SELECT id, (100 / per)::text AS key FROM other;
		SELECT casq.track_view('others', kind => 'other', transfer => 'none', id_column => 'id', key_column => 'key', sources => '{"other": "SELECT id FROM changed"}');
		INSERT INTO other VALUES (1, 1), (2, 0), (3, 3)`)
	b.follow(t)
	b.want(t, "SELECT format('%s %s', id, key) FROM casq.image_other ORDER BY id", "1 100", "3 33")
	b.want(t, "SELECT what FROM casq.problems_of_views()", "1 rows of view public.others are not followed, such as that of id 2: division by zero")
	b.exec(t, `UPDATE other SET per = 2 WHERE id = 2`)
	b.follow(t)
	b.want(t, "SELECT key FROM casq.image_other WHERE id = 2", "50")
	b.want(t, "SELECT what FROM casq.problems_of_views()")

	b.exec(t, `DROP EVENT TRIGGER casq_drop; ALTER TABLE repository ADD wanted int; DROP VIEW repos; UPDATE repository SET name = 'z' WHERE id = 1; UPDATE other SET per = 5 WHERE id = 1`)
	b.follow(t)
	b.want(t, "SELECT key FROM casq.image_other WHERE id = 1", "20")
	b.want(t, "SELECT format('%s: %s', severity, what) FROM casq.problems_of_views()", "critical: view public.repos of kind repository is not followed: casq: view public.repos of kind repository is gone")
	b.exec(t, forgeView)
	b.exec(t, "UPDATE casq.views SET tried_at = '-infinity'")
	b.untilSame(t)
	b.want(t, "SELECT what FROM casq.problems_of_views()")
}
