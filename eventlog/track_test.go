package eventlog_test

import (
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// Each case starts with rows a (project 1, 10 bytes) and b (project 1, 20
// bytes); on the partitioned table too.
var dmlCases = []struct {
	name, sql string
	want      []string
}{
	{"insert", `INSERT INTO artifacts VALUES ('d', 2, 5, 'x'), ('c', 1, 7, 'y')`, []string{
		`created c 1 +7 +1 {"sha": "y", "size": 7}`, `created d 2 +5 +1 {"sha": "x", "size": 5}`}},
	{"insert nothing", `INSERT INTO artifacts SELECT 'x' WHERE false`, nil},
	{"null scope and size", `INSERT INTO artifacts (path) VALUES ('c')`, []string{
		`created c  +0 +1 {"sha": null, "size": null}`}},
	{"update of the size", `UPDATE artifacts SET size = size + 1`, []string{
		`updated a 1 +1 +0 {"sha": "s", "size": 11}`, `updated b 1 +1 +0 {"sha": "s", "size": 21}`}},
	{"update to no size", `UPDATE artifacts SET size = NULL WHERE path = 'a'`, []string{
		`updated a 1 -10 +0 {"sha": "s", "size": null}`}},
	{"update of the payload", `UPDATE artifacts SET sha = NULL WHERE path = 'a'`, []string{
		`updated a 1 +0 +0 {"sha": null, "size": 10}`}},
	{"update of what is not tracked", `UPDATE artifacts SET hits = 1`, nil},
	{"update to the same", `UPDATE artifacts SET sha = sha, size = size, path = path`, nil},
	{"update of no row", `UPDATE artifacts SET size = 1 WHERE false`, nil},
	{"move", `UPDATE artifacts SET project_id = 2, size = 11 WHERE path = 'a'`, []string{
		`updated a 1 -10 -1 {"sha": "s", "size": 11}`, `updated a 2 +11 +1 {"sha": "s", "size": 11}`}},
	{"move to no scope", `UPDATE artifacts SET project_id = NULL WHERE path = 'a'`, []string{
		`updated a 1 -10 -1 {"sha": "s", "size": 10}`, `updated a  +10 +1 {"sha": "s", "size": 10}`}},
	{"change of the key", `UPDATE artifacts SET path = 'z' WHERE path = 'a'`, []string{
		`deleted a 1 -10 -1 {}`, `created z 1 +10 +1 {"sha": "s", "size": 10}`}},
	{"shift of the keys", `UPDATE artifacts SET path = chr(ascii(path) + 1) WHERE path = 'b';
		UPDATE artifacts SET path = 'b' WHERE path = 'a'`, []string{
		`deleted b 1 -20 -1 {}`, `created c 1 +20 +1 {"sha": "s", "size": 20}`,
		`deleted a 1 -10 -1 {}`, `created b 1 +10 +1 {"sha": "s", "size": 10}`}},
	{"delete", `DELETE FROM artifacts`, []string{`deleted a 1 -10 -1 {}`, `deleted b 1 -20 -1 {}`}},
	{"upsert", `INSERT INTO artifacts VALUES ('c', 2, 1, 's'), ('a', 1, 1, 't')
		ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha = excluded.sha`, []string{
		`updated a 1 -9 +0 {"sha": "t", "size": 1}`, `created c 2 +1 +1 {"sha": "s", "size": 1}`}},
	{"upsert that does nothing", `INSERT INTO artifacts VALUES ('a', 1, 1, 't') ON CONFLICT DO NOTHING`, nil},
	{"merge", `MERGE INTO artifacts USING (VALUES ('a', 1), ('b', 2), ('c', 3)) AS v (path, size) ON artifacts.path = v.path
		WHEN MATCHED AND v.path = 'a' THEN DELETE
		WHEN MATCHED THEN UPDATE SET size = v.size
		WHEN NOT MATCHED THEN INSERT (path, project_id, size) VALUES (v.path, 1, v.size)`, []string{
		`deleted a 1 -10 -1 {}`, `updated b 1 -18 +0 {"sha": "s", "size": 2}`, `created c 1 +3 +1 {"sha": null, "size": 3}`}},
	{"common table expressions", `WITH gone AS (DELETE FROM artifacts WHERE path = 'a' RETURNING *),
		grown AS (UPDATE artifacts SET size = 21 WHERE path = 'b')
		INSERT INTO artifacts SELECT 'n', project_id, size, sha FROM gone`, []string{
		`deleted a 1 -10 -1 {}`, `created n 1 +10 +1 {"sha": "s", "size": 10}`, `updated b 1 +1 +0 {"sha": "s", "size": 21}`}},
	{"two updates of one transaction", `UPDATE artifacts SET size = 1 WHERE path = 'a'; UPDATE artifacts SET size = 3 WHERE path = 'a'`, []string{
		`updated a 1 -9 +0 {"sha": "s", "size": 1}`, `updated a 1 +2 +0 {"sha": "s", "size": 3}`}},
	{"delete and insert in one transaction", `DELETE FROM artifacts WHERE path = 'a'; INSERT INTO artifacts VALUES ('a', 2, 1, 'n')`, []string{
		`deleted a 1 -10 -1 {}`, `created a 2 +1 +1 {"sha": "n", "size": 1}`}},
	{"roll back", `BEGIN; DELETE FROM artifacts; ROLLBACK`, nil},
	{"session_replication_role", `BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM artifacts WHERE path = 'a'; COMMIT`, []string{
		`deleted a 1 -10 -1 {}`}},
}

func TestTrackLogsStatements(t *testing.T) {
	t.Parallel()
	for _, layout := range []struct{ name, table string }{{"plain", plainTable}, {"partitioned", partitionedTable}} {
		t.Run(layout.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, layout.table, trackArtifacts)
			for _, c := range dmlCases {
				t.Run(c.name, func(t *testing.T) {
					if strings.Contains(c.sql, "session_replication_role") {
						testdb.NeedsSuperuser(t)
					}
					b.exec(t, `DELETE FROM artifacts; INSERT INTO artifacts VALUES ('b', 1, 20, 's'), ('a', 1, 10, 's')`)
					b.events(t)
					b.exec(t, c.sql)
					b.wantEvents(t, c.want...)
					b.wantExact(t)
				})
			}
		})
	}
}

// What says only that something was done to a row is told of, once a statement.
func TestEveryUpdateIsTold(t *testing.T) {
	t.Parallel()
	for _, layout := range []struct{ name, table string }{{"plain", plainTable}, {"partitioned", partitionedTable}} {
		t.Run(layout.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, layout.table, strings.Replace(trackArtifacts, ")", ", every_update => true)", 1),
				`INSERT INTO artifacts VALUES ('b', 1, 20, 's'), ('a', 1, 10, 's')`)
			b.events(t)
			b.exec(t, `UPDATE artifacts SET hits = 1 WHERE path = 'a'; UPDATE artifacts SET path = path WHERE path = 'a'; UPDATE artifacts SET hits = 1 WHERE false`)
			b.wantEvents(t, `updated a 1 +0 +0 {"sha": "s", "size": 10}`, `updated a 1 +0 +0 {"sha": "s", "size": 10}`)
			b.exec(t, `UPDATE artifacts SET size = size + length(path) WHERE path = 'b'; UPDATE artifacts SET project_id = 2 WHERE path = 'b'; UPDATE artifacts SET path = 'c' WHERE path = 'b'`)
			b.wantEvents(t, `updated b 1 +1 +0 {"sha": "s", "size": 21}`, `updated b 1 -21 -1 {"sha": "s", "size": 21}`, `updated b 2 +21 +1 {"sha": "s", "size": 21}`,
				`deleted b 2 -21 -1 {}`, `created c 2 +21 +1 {"sha": "s", "size": 21}`)
			b.wantExact(t)
		})
	}
}

func TestTrackLogsCopy(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, trackArtifacts)
	_, err := b.pool.CopyFrom(t.Context(), pgx.Identifier{"artifacts"}, []string{"path", "project_id", "size"},
		pgx.CopyFromRows([][]any{{"b", 1, 2}, {"a", 1, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, `created a 1 +1 +1 {"sha": null, "size": 1}`, `created b 1 +2 +1 {"sha": null, "size": 2}`)
}

// Two cascades that update one row share a transition table: it holds the row
// three times.
func TestTrackLogsCascades(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE TABLE owners (id bigint PRIMARY KEY)`, plainTable,
		`ALTER TABLE artifacts
			ADD FOREIGN KEY (project_id) REFERENCES owners ON UPDATE CASCADE ON DELETE CASCADE,
			ADD FOREIGN KEY (size) REFERENCES owners ON UPDATE CASCADE ON DELETE CASCADE`,
		trackArtifacts,
		`INSERT INTO owners VALUES (1), (2); INSERT INTO artifacts VALUES ('a', 1, 1, 's'), ('b', 1, 2, 's')`)
	b.events(t)
	b.exec(t, `UPDATE owners SET id = 5 WHERE id = 1`)
	b.wantExact(t)
	b.exec(t, `DELETE FROM owners WHERE id = 5`)
	b.wantExact(t)
	if n := len(b.events(t)); n == 0 {
		t.Fatal("cascades logged nothing")
	}
}

// Without the event trigger the same must hold as with it.
func TestTrackFollowsRenames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, before string }{
		{"with event trigger", `SELECT 1`},
		{"without", withoutEventTriggers},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, c.before, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`,
				`CREATE SCHEMA x; ALTER TABLE artifacts SET SCHEMA x; ALTER TABLE x.artifacts RENAME TO resources`,
				// Whoever has the old name now is none of our business.
				plainTable, `INSERT INTO artifacts VALUES ('a', 9, 9, 'other')`)
			b.events(t)
			b.exec(t, `UPDATE x.resources SET size = 2; ALTER SCHEMA x RENAME TO y; INSERT INTO y.resources VALUES ('b', 1, 1, 't');
				DELETE FROM y.resources WHERE path = 'a'`)
			b.wantEvents(t, `updated a 1 +1 +0 {"sha": "s", "size": 2}`, `created b 1 +1 +1 {"sha": "t", "size": 1}`, `deleted a 1 -2 -1 {}`)
		})
	}
}

// A column that is renamed where nobody could refuse it keeps its name in the
// payload, and nobody's statement fails.
func TestTrackFollowsColumnsWithoutEventTrigger(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, withoutEventTriggers, plainTable, trackArtifacts,
		`INSERT INTO artifacts VALUES ('a', 1, 1, 's')`,
		`ALTER TABLE artifacts RENAME sha TO digest; ALTER TABLE artifacts RENAME path TO key`)
	b.events(t)
	b.exec(t, `UPDATE artifacts SET digest = 'd'`)
	b.wantEvents(t, `updated a 1 +0 +0 {"sha": "d", "size": 1}`)
	err := run(t.Context(), b.pool, `ALTER TABLE artifacts DROP COLUMN digest; DELETE FROM artifacts`)
	wantRefused(t, err, "has no column sha", "casq.untrack('public.artifacts')")
}

// A table that is gone, where nobody could refuse it, has no name by which to give
// it up, and its kind has.
func TestUntrackByKind(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, withoutEventTriggers, plainTable, trackArtifacts, `DROP TABLE artifacts`)
	wantRefused(t, run(t.Context(), b.pool, `SELECT casq.resources('artifact', NULL, 10, NULL)`), "table of kind artifact is gone", "casq.untrack(kind => 'artifact')")
	wantRefused(t, run(t.Context(), b.pool, `SELECT casq.untrack()`), "either a table or a kind")
	wantRefused(t, run(t.Context(), b.pool, `SELECT casq.untrack(kind => 'other')`), "kind 'other' is not tracked")
	b.exec(t, `SELECT casq.untrack(kind => 'artifact')`)
	wantRefused(t, run(t.Context(), b.pool, `SELECT casq.untrack(kind => 'artifact')`), "kind 'artifact' is not tracked", "No table is tracked")
	b.exec(t, plainTable+`; `+trackArtifacts+`; INSERT INTO artifacts VALUES ('a', 1, 1, 's'); SELECT casq.untrack(kind => 'artifact')`)
	b.wantEvents(t, `created a 1 +1 +1 {"sha": "s", "size": 1}`)
	b.exec(t, `DELETE FROM artifacts`)
	if n := len(b.events(t)); n != 0 {
		t.Errorf("%d events of a table that is not tracked", n)
	}
}
