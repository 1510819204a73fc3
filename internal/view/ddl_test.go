package view

import (
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

const noEventTriggers = `DROP EVENT TRIGGER casq_ddl; DROP EVENT TRIGGER casq_drop; DROP EVENT TRIGGER casq_rewrite; `

// DDL that would end the notes of a source, or a tracked view, is refused; what a source can
// be followed through is followed.
func TestDDL(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := tracked(t)
	for _, sql := range []string{
		`DROP VIEW repos`, `DROP TABLE release CASCADE`, `DROP TRIGGER casq_note_update ON release`, `DROP TABLE "user" CASCADE`,
		`CREATE TABLE parent (LIKE release) PARTITION BY LIST (id); ALTER TABLE parent ATTACH PARTITION release DEFAULT`,
		`CREATE TABLE parent (LIKE release); ALTER TABLE release INHERIT parent`, `ALTER TABLE release SET UNLOGGED`,
	} {
		wantRefused(t, run(t.Context(), b.pool, sql))
	}
	b.exec(t, `ALTER TABLE release DISABLE TRIGGER casq_note_insert; ALTER TABLE release RENAME TO releases; ALTER TABLE repository RENAME name TO called;
		CREATE SCHEMA moved; ALTER TABLE releases SET SCHEMA moved;
		INSERT INTO moved.releases VALUES (1, 1, 10); UPDATE repository SET called = 'z' WHERE id = 2`)
	b.want(t, "SELECT coalesce(rows::text, 'any') FROM casq.source_changes ORDER BY id", `[{"repo_id": 1}]`, `[{"id": 2}]`)
	b.follow(t)
	b.wantSame(t)
	b.want(t, "SELECT name FROM casq.sources ORDER BY name", "moved.releases", `public."user"`, "public.repository")
}

// Without event triggers it is found, told, and made good for; what is mended is told no more.
func TestDDLIsFound(t *testing.T) {
	long.Test(t)
	t.Parallel()
	testdb.NeedsSuperuser(t)
	for name, test := range map[string]struct{ sql, told, mend string }{
		"trigger disabled": {`ALTER TABLE release DISABLE TRIGGER casq_note_insert; INSERT INTO release VALUES (1, 1, 10)`,
			"triggers of public.release that note its changes are disabled, or gone; SELECT casq.track_view(...) again for repository", trackRepos},
		"trigger dropped": {`DROP TRIGGER casq_note_insert ON release; INSERT INTO release VALUES (1, 1, 10)`,
			"triggers of public.release that note its changes are disabled, or gone; SELECT casq.track_view(...) again for repository", trackRepos},
		"a partition": {`CREATE TABLE parent (LIKE release) PARTITION BY LIST (id); ALTER TABLE parent ATTACH PARTITION release DEFAULT; INSERT INTO parent VALUES (1, 1, 10)`,
			"casq: public.release is a partition", `ALTER TABLE parent DETACH PARTITION release`},
		"a column renamed": {`ALTER TABLE release RENAME repo_id TO repository_id; INSERT INTO release VALUES (1, 1, 10)`,
			"column repo_id of public.release is not what the queries of its views were made for, each change has all compared; untrack, and track, repository",
			`ALTER TABLE release RENAME repository_id TO repo_id`},
		"another table": {`ALTER TABLE release RENAME TO old; CREATE TABLE release (LIKE old)`,
			"public.release is another table now than the one that tracked views are made of, public.old; SELECT casq.untrack(kind => ...) for repository, then track",
			`DROP TABLE release; ALTER TABLE old RENAME TO release`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := tracked(t)
			b.exec(t, noEventTriggers+test.sql)
			watch := func() {
				t.Helper()
				if err := b.keeper.watch(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			watch()
			b.want(t, "SELECT what FROM casq.problems_of_views()", test.told)
			b.untilSame(t)
			b.exec(t, test.mend)
			watch()
			b.want(t, "SELECT what FROM casq.problems_of_views()")
			b.exec(t, `INSERT INTO release VALUES (2, 3, 5)`)
			b.follow(t)
			b.untilSame(t)
		})
	}
}

// What belongs to another role may not run with the rights of casq's owner: not when it is
// tracked, nor when it is given away.
func TestTrust(t *testing.T) {
	long.Test(t)
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := tracked(t)
	stranger := testdb.RoleName(t, b.db.RoleURL(t))
	b.exec(t, `GRANT CREATE, USAGE ON SCHEMA public TO `+stranger+`; CREATE TABLE tags (id bigint PRIMARY KEY); CREATE TABLE marks (id bigint); ALTER TABLE marks OWNER TO `+stranger+`;
		CREATE VIEW tagged AS SELECT id, id::text AS key FROM tags; CREATE VIEW marked AS SELECT t.id, t.id::text AS key FROM tags AS t, marks AS m WHERE m.id = t.id;
		CREATE FUNCTION mine(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1'; ALTER FUNCTION mine(bigint) OWNER TO `+stranger)
	const tag = `SELECT casq.track_view('%', kind => 'tag', transfer => 'none', id_column => 'id', key_column => 'key', sources => '{"tags": "#"}')`
	for _, test := range [][2]string{
		{"marked", "SELECT id FROM changed"}, {"tagged", "SELECT m.id FROM changed AS c JOIN marks AS m USING (id)"}, {"tagged", "SELECT mine(id) FROM changed"},
	} {
		wantRefused(t, run(t.Context(), b.pool, replaced(tag, "%", test[0], "#", test[1])), stranger, "casq's owner")
	}
	b.exec(t, `ALTER VIEW repos OWNER TO `+stranger+`; UPDATE repository SET name = 'z' WHERE id = 1`)
	b.follow(t)
	b.want(t, "SELECT count(*)::text FROM casq.image_repository WHERE path = 'ann/z.git'", "0")
	b.want(t, "SELECT (what LIKE '%public.repos belongs to %')::text FROM casq.problems_of_views()", "true")
	b.exec(t, `ALTER VIEW repos OWNER TO CURRENT_USER; DROP VIEW marked; UPDATE casq.views SET tried_at = '-infinity'`)
	b.untilSame(t)
}
