package eventlog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

const (
	identified = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint, sha text, hits int, id bigint NOT NULL UNIQUE)`

	// The index that partitioning allows: an id can be in two of them.
	identifiedPartitions = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint, sha text, hits int, id bigint NOT NULL, UNIQUE (id, path))
		PARTITION BY RANGE (path);
		CREATE TABLE artifacts_low PARTITION OF artifacts FOR VALUES FROM (MINVALUE) TO ('m');
		CREATE TABLE artifacts_high (id bigint NOT NULL, hits int, sha text, size bigint, project_id bigint, path text NOT NULL);
		ALTER TABLE artifacts ATTACH PARTITION artifacts_high FOR VALUES FROM ('m') TO (MAXVALUE)`

	trackIdentified = `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
		scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['sha'], id_column => 'id')`
)

// moves returns what was logged since the last call: op, key, the other key, bytes and
// items by scope.
func (b *trackBundle) moves(t *testing.T) []string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `SELECT id, concat_ws(' ', op, resource_id, nullif(moved, ''), coalesce(scope_id, '-')
		|| to_char(size_delta, 'SGFM999') || to_char(item_delta, 'SGFM999')) FROM casq.events WHERE id > $1 ORDER BY id`, b.seen)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var line string
	if _, err := pgx.ForEachRow(rows, []any{&b.seen, &line}, func() error { lines = append(lines, line); return nil }); err != nil {
		t.Fatal(err)
	}
	return lines
}

// Each case begins with the rows a (id 1, 10 bytes), b (2, 20) and y (3, 30) of project 1.
var moveCases = []struct {
	name, sql string
	want      []string
}{
	{"a key changes", `UPDATE artifacts SET path = 'c' WHERE id = 1`, []string{
		"deleted a c 1-10-1", "created c a 1+10+1"}},
	{"into another partition, with all that is told of", `UPDATE artifacts SET path = 'z', project_id = 2, size = 11, sha = 'n' WHERE id = 1`, []string{
		"deleted a z 1-10-1", "created z a 2+11+1"}},
	{"all keys change", `UPDATE artifacts SET path = path || '/x'`, []string{
		"deleted a a/x 1-10-1", "deleted b b/x 1-20-1", "deleted y y/x 1-30-1", "created a/x a 1+10+1", "created b/x b 1+20+1", "created y/x y 1+30+1"}},
	{"nothing but what is not tracked", `UPDATE artifacts SET hits = 1, path = path`, nil},
	{"no key changes", `UPDATE artifacts SET size = size + 1 WHERE id < 3`, []string{"updated a 1+1+0", "updated b 1+1+0"}},
	{"one after the other", `UPDATE artifacts SET path = 'c' WHERE id = 2; UPDATE artifacts SET path = 'b' WHERE id = 1`, []string{
		"deleted b c 1-20-1", "created c b 1+20+1", "deleted a b 1-10-1", "created b a 1+10+1"}},
	{"the id changes, too", `UPDATE artifacts SET path = 'c', id = 9 WHERE id = 1`, []string{"deleted a 1-10-1", "created c 1+10+1"}},
	{"only the id changes", `UPDATE artifacts SET id = 9 WHERE id = 1`, []string{"updated a 1+0+0"}},
	{"a row is replaced", `DELETE FROM artifacts WHERE id = 1; INSERT INTO artifacts VALUES ('c', 1, 10, 's', NULL, 1)`, []string{
		"deleted a 1-10-1", "created c 1+10+1"}},
	// Not into another partition: of that, a MERGE leaves nothing in a transition table.
	{"merge", `MERGE INTO artifacts USING (VALUES (1, 'c'), (3, 'z')) AS v (id, path) ON artifacts.id = v.id WHEN MATCHED THEN UPDATE SET path = v.path`, []string{
		"deleted a c 1-10-1", "deleted y z 1-30-1", "created c a 1+10+1", "created z y 1+30+1"}},
	{"keys of one statement move up", `UPDATE artifacts SET path = CASE id WHEN 1 THEN 'c' ELSE 'a' END, project_id = id WHERE id < 3`, []string{
		"deleted a c 2+0+0", "deleted b a 1-20-1", "updated a 1-10-1", "created a b 2+20+1", "created c a 1+10+1"}},
	{"and have the same payloads", `UPDATE artifacts SET size = 20; UPDATE artifacts SET path = CASE id WHEN 1 THEN 'c' ELSE 'a' END WHERE id < 3`, []string{
		"updated a 1+10+0", "updated y 1-10+0", "deleted a c 1+0+0", "deleted b a 1-20-1", "created a b 1+0+0", "created c a 1+20+1"}},
	{"there and back", `UPDATE artifacts SET path = 'c' WHERE id = 1; UPDATE artifacts SET path = 'a' WHERE id = 1`, []string{
		"deleted a c 1-10-1", "created c a 1+10+1", "deleted c a 1-10-1", "created a c 1+10+1"}},
}

// What is deleted is told first. One statement can give a key from one row to another, but not exchange the keys of two: a
// key's index is checked row by row.
func TestTrackLogsMoves(t *testing.T) {
	t.Parallel()
	for _, layout := range []struct{ name, table string }{{"plain", identified}, {"partitioned", identifiedPartitions}} {
		t.Run(layout.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, layout.table, trackIdentified)
			for _, c := range moveCases {
				t.Run(c.name, func(t *testing.T) {
					b.exec(t, `DELETE FROM artifacts; INSERT INTO artifacts VALUES ('a', 1, 10, 's', 0, 1), ('b', 1, 20, 's', 0, 2), ('y', 1, 30, 's', 0, 3)`)
					b.moves(t)
					b.exec(t, c.sql)
					if got := b.moves(t); !slices.Equal(got, c.want) {
						t.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
					}
					b.wantExact(t)
				})
			}
		})
	}
}

// Two cascades share a transition table, in which a row may have been under three keys.
func TestTrackPairsRowsThatMovedTwice(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE TABLE owners (id int PRIMARY KEY, name text UNIQUE, team text UNIQUE)`,
		`CREATE TABLE repositories (id int PRIMARY KEY, owner text REFERENCES owners (name) ON UPDATE CASCADE, team text REFERENCES owners (team) ON UPDATE CASCADE,
			path text GENERATED ALWAYS AS (owner || '/' || team || '/' || id) STORED UNIQUE NOT NULL)`,
		`SELECT casq.track('repositories', kind => 'repository', transfer => 'git', key_column => 'path', id_column => 'id')`,
		`INSERT INTO owners VALUES (1, 'ann', 'red'); INSERT INTO repositories VALUES (1, 'ann', 'red'), (2, 'ann', 'red')`)
	b.moves(t)
	b.exec(t, `UPDATE owners SET name = 'bob', team = 'blue'`)
	want := []string{
		"deleted ann/red/1 bob/blue/1 -+0-1", "deleted ann/red/2 bob/blue/2 -+0-1",
		"created bob/blue/1 ann/red/1 -+0+1", "created bob/blue/2 ann/red/2 -+0+1"}
	if got := b.moves(t); !slices.Equal(got, want) {
		t.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Over partitions an id may be that of several rows: these are no pair.
func TestTrackPairsNoRowsOfOneID(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, identifiedPartitions, trackIdentified,
		`INSERT INTO artifacts VALUES ('a', 1, 10, 's', 0, 1), ('y', 1, 30, 's', 0, 1)`)
	b.moves(t)
	b.exec(t, `UPDATE artifacts SET path = path || '/x'`)
	want := []string{"deleted a 1-10-1", "created a/x 1+10+1", "deleted y 1-30-1", "created y/x 1+30+1"}
	if got := b.moves(t); !slices.Equal(got, want) {
		t.Errorf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// An event by hand names the other key, too; of an update there is none.
func TestAppendedEventsNameTheOtherKey(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `SELECT casq.define_kind('repository', 'git');
		SELECT casq.append_event('repository', 'a', 'deleted', moved => 'b'), casq.append_event('repository', 'b', 'created', moved => 'a')`)
	if got, want := b.moves(t), []string{"deleted a b -+0+0", "created b a -+0+0"}; !slices.Equal(got, want) {
		t.Errorf("events %q; want %q", got, want)
	}
	if err := run(t.Context(), b.pool, `SELECT casq.append_event('repository', 'b', 'updated', moved => 'a')`); err == nil {
		t.Error("an update that names another key was taken")
	}
}
