package counter_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"casq/counter"
	"casq/counter/internal/countertest"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgconn"
)

// A view may say of each scope which ancestors it has; a countertest.Pair that is there
// twice counts once.
func TestTotalsOfAncestors(t *testing.T) {
	t.Parallel()
	b := countertest.Namespaces(t)
	b.Exec(t, "CREATE TABLE namespaces (id integer PRIMARY KEY, parent integer)")
	b.Exec(t, "INSERT INTO namespaces VALUES (1, NULL), (2, 1), (3, 2), (4, NULL)")
	b.Exec(t, "INSERT INTO projects VALUES (10, 1), (20, 2), (30, 3), (40, 4), (50, NULL)")
	b.Exec(t, `CREATE VIEW ancestors AS
		WITH RECURSIVE a AS (
			SELECT id, namespace_id FROM projects
			UNION ALL SELECT a.id, n.parent FROM a JOIN namespaces AS n ON n.id = a.namespace_id WHERE n.parent IS NOT NULL
		) SELECT * FROM a UNION ALL SELECT * FROM projects`)
	b.Group(t, "ancestors")
	b.Exec(t, "INSERT INTO artifacts SELECT n, n AS project, n AS size FROM generate_series(10, 60, 10) AS n")
	b.Feed(t)
	want := map[string]countertest.Pair{"1": {60, 3}, "2": {50, 2}, "3": {30, 1}, "4": {40, 1}}
	for parent, w := range want {
		if got := b.LiveTotal(t, parent); got != w {
			t.Errorf("namespace %s: live %v, want %v", parent, got, w)
		}
	}
	b.FlushAll(t)
	want["none"] = countertest.Pair{110, 2}
	if got := b.Totals(t); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	want = map[string]countertest.Pair{"1": {60, 3}}
	if got := b.Sums(t, "SELECT parent_id, size::bigint, scopes FROM casq.total('artifact', '1')"); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	b.Exec(t, "UPDATE namespaces SET parent = 4 WHERE id = 2")
	want = map[string]countertest.Pair{"1": {10, 1}, "2": {50, 2}, "3": {30, 1}, "4": {90, 3}, "none": {110, 2}}
	if got := b.Totals(t); !maps.Equal(got, want) {
		t.Errorf("after a move: %v, want %v", got, want)
	}
}

// Inheritance makes a table whose unique column is not.
func TestTotalsOfDoubles(t *testing.T) {
	t.Parallel()
	b := countertest.Namespaces(t)
	b.Exec(t, "CREATE TABLE more_projects () INHERITS (projects)")
	b.Exec(t, "INSERT INTO projects VALUES (1, 7); INSERT INTO more_projects VALUES (1, 7), (2, 7)")
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10), (2, 2, 20)")
	b.Feed(t)
	if got := b.LiveTotal(t, "7"); got != (countertest.Pair{30, 2}) {
		t.Errorf("live %v", got)
	}
	b.FlushAll(t)
	if got, want := b.Totals(t), (map[string]countertest.Pair{"7": {30, 2}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Scopes and parents of all types, told apart by their bytes.
func TestTotalsByBytes(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.New(t)
	b.Exec(t, `CREATE COLLATION either (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
	for name, c := range map[string]struct{ scope, parent, one, other, seven string }{
		"integer":  {"smallint", "bigint", "7", "8", "07"},
		"uuid":     {"uuid", "uuid", "0197c2a0-0000-7000-8000-00000000000a", "0197c2a0-0000-7000-8000-00000000000b", "0197C2A0-0000-7000-8000-00000000000A"},
		"text":     {"text", "text", "7", "07", "7 "},
		"varchar":  {"varchar(9)", "varchar(9)", "7", "7 ", " 7"},
		"char":     {"char(9)", "char(9)", "7", "07", "7 "},
		"any case": {"text COLLATE either", "text COLLATE either", "a", "A", "b"},
		"other":    {"text", "integer", "7", "8", "07"},
	} {
		kind := strings.ReplaceAll(name, " ", "_")
		b.Exec(t, "CREATE TABLE resources_"+kind+" (id bigint PRIMARY KEY, scope "+c.scope+")")
		b.Exec(t, "SELECT casq.track('resources_"+kind+"', kind => '"+kind+"', transfer => 'none', key_column => 'id', scope_column => 'scope')")
		table := `"Parents' ""` + kind + `""; --"`
		b.Exec(t, "CREATE TABLE "+table+` ("Scope" `+c.scope+`, "the ""parent" `+c.parent+")")
		b.Exec(t, "SELECT casq.group_scopes($1, $2::text::regclass, 'Scope', 'the \"parent')", kind, table)
		b.Exec(t, "INSERT INTO "+table+" VALUES ($1, $3), ($2, $4), ($1, $3), ($1, $4)", c.one, c.other, c.one, c.other)
		b.Exec(t, "INSERT INTO resources_"+kind+" VALUES (1, $1), (2, $1), (3, $2)", c.one, c.other)
		b.Feed(t)
		b.FlushAll(t)
		want := map[string]countertest.Pair{c.one: {1, 2}, c.other: {2, 3}}
		if got := b.Sums(t, "SELECT coalesce(parent_id, 'none'), scopes, items FROM casq.Totals('"+kind+"')"); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		for parent, items := range map[string]int64{c.one: 2, c.other: 3, c.seven: 0} {
			v, err := b.Total(t.Context(), kind, parent)
			if errors.Is(err, counter.ErrNoParent) != (items == 0) || v.Items != items {
				t.Errorf("%s: %q has %d items, want %d, %v", name, parent, v.Items, items, err)
			}
			var n int64
			err = b.Pool.QueryRow(t.Context(), "SELECT coalesce(sum(items), -1) FROM casq.total($1, $2)", kind, parent).Scan(&n)
			if err != nil || items > 0 && n != items || items == 0 && n != -1 {
				t.Errorf("%s: %q has %d items in SQL, want %d, %v", name, parent, n, items, err)
			}
		}
	}
}

// The table may be dropped, replaced and changed as before. Totals are those of
// what is there under its name.
func TestTotalsFollowTheTable(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.Namespaces(t)
	b.Exec(t, "INSERT INTO projects VALUES (1, 7)")
	b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10)")
	b.Feed(t)
	b.FlushAll(t)
	want := func(parents map[string]countertest.Pair) {
		t.Helper()
		if got := b.Totals(t); !maps.Equal(got, parents) {
			t.Errorf("%v, want %v", got, parents)
		}
	}
	want(map[string]countertest.Pair{"7": {10, 1}})
	b.Exec(t, "ALTER TABLE projects ALTER namespace_id TYPE text USING namespace_id || '/x'")
	want(map[string]countertest.Pair{"7/x": {10, 1}})
	// Another table takes its place: an oid would still show the old one.
	b.Exec(t, "CREATE TABLE newer (namespace_id uuid, id integer); INSERT INTO newer VALUES ('0197c2a0-0000-7000-8000-00000000000a', 1)")
	b.Exec(t, "ALTER TABLE projects RENAME TO older; ALTER TABLE newer RENAME TO projects")
	want(map[string]countertest.Pair{"0197c2a0-0000-7000-8000-00000000000a": {10, 1}})
	b.Exec(t, "DROP TABLE projects")
	refused(t, b, "SELECT * FROM casq.Totals('artifact')", "42P01", "there is no public.projects, which scopes of kind artifact are grouped by", "SELECT casq.group_scopes('artifact', ...)")
	b.Exec(t, "CREATE VIEW projects AS SELECT * FROM older")
	want(map[string]countertest.Pair{"7/x": {10, 1}})
	b.Exec(t, "DROP VIEW projects; CREATE TABLE projects (id bigint)")
	refused(t, b, "SELECT * FROM casq.total('artifact', '7/x')", "42703", "public.projects has no column namespace_id", "casq.ungroup_scopes('artifact')")
	b.Exec(t, "ALTER TABLE projects ADD namespace_id timestamptz")
	refused(t, b, "SELECT casq.scopes_of('artifact', '7')", "42804", "has type timestamp with time zone", "a view may cast it")
	b.Exec(t, "SELECT casq.ungroup_scopes('artifact')")
	refused(t, b, "SELECT * FROM casq.Totals('artifact')", "42704", "scopes of kind 'artifact' are not grouped", "SELECT casq.group_scopes(", "Grouped kinds: none.")
	refused(t, b, "SELECT casq.ungroup_scopes('artifact')", "42704", "are not grouped")
}

// What is wrong is told before anything is stored.
func TestGroupScopesRefuses(t *testing.T) {
	t.Parallel()
	b := countertest.Namespaces(t)
	b.Exec(t, "CREATE TABLE resources (id uuid PRIMARY KEY, project uuid)")
	b.Exec(t, "SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'project')")
	b.Exec(t, "CREATE TABLE notes (id uuid PRIMARY KEY)")
	b.Exec(t, "SELECT casq.track('notes', kind => 'note', transfer => 'none', key_column => 'id')")
	b.Exec(t, "CREATE SEQUENCE numbers")
	b.Exec(t, "CREATE TABLE odd (id numeric, namespace_id jsonb)")
	for args, want := range map[string][]string{
		"'nothing', 'projects', 'id', 'namespace_id'":    {"42704", "kind 'nothing' has no tracked table", "artifact, note, resource"},
		"NULL, 'projects', 'id', 'namespace_id'":         {"42704", "kind NULL"},
		"'note', 'projects', 'id', 'namespace_id'":       {"22023", "no scope column", "scope_column =>"},
		"'artifact', 'nowhere', 'id', 'namespace_id'":    {"42P01", "nowhere"},
		"'artifact', NULL, 'id', 'namespace_id'":         {"22023", "group_scopes needs parents"},
		"'artifact', 999999, 'id', 'namespace_id'":       {"42P01", "there is no 999999", "with a table that exists"},
		"'artifact', 'projects', NULL, 'namespace_id'":   {"22023", "the names of these two columns"},
		"'artifact', 'projects', 'id', NULL":             {"22023"},
		"'artifact', 'projects', 'ID', 'namespace_id'":   {"42703", `public.projects has no column "ID"`},
		"'artifact', 'projects', 'id', 'namespace'":      {"42703", "no column namespace", "with columns that exist"},
		"'artifact', 'projects', 'id', 'ctid'":           {"42703"},
		"'artifact', 'odd', 'id', 'id'":                  {"42804", "column id of public.odd has type numeric", "an integer, a uuid or text"},
		"'artifact', 'projects', 'id', 'id) --'":         {"42703"},
		"'artifact', 'numbers', 'last_value', 'log_cnt'": {"42809", "is no table or view"},
		"'artifact', 'projects_pkey', 'id', 'id'":        {"42809"},
		"'resource', 'projects', 'id', 'namespace_id'":   {"42804", "scopes of kind resource are of type uuid", "Name the column that has the scopes."},
	} {
		refused(t, b, "SELECT casq.group_scopes("+args+")", want[0], want[1:]...)
	}
	refused(t, b, "CREATE TEMPORARY TABLE mine (id bigint, parent bigint); SELECT casq.group_scopes('artifact', 'mine', 'id', 'parent')", "42809", "not temporary")
	var parents string
	err := b.Pool.QueryRow(t.Context(), "SELECT string_agg(format('%s %s', kind, parents), ', ') FROM casq.scope_groups").Scan(&parents)
	if err != nil || parents != "artifact public.projects" {
		t.Errorf("grouped: %s, %v", parents, err)
	}
}

// Totals are had with the rights of casq's owner: of what he may read, all of
// it, and calling nothing of others.
func TestTotalsAndRights(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := countertest.Namespaces(t)
	role := func() string { return testdb.RoleName(t, b.DB.RoleURL(t)) }
	b.Exec(t, "INSERT INTO projects VALUES (1, 7)")
	b.Exec(t, "CREATE VIEW seen AS SELECT * FROM projects; CREATE VIEW above AS SELECT * FROM seen")
	const ask = "SELECT * FROM casq.Totals('artifact')"

	url := b.DB.RoleURL(t)
	b.Exec(t, "GRANT USAGE ON SCHEMA casq TO "+testdb.RoleName(t, url))
	reader := *b
	reader.Pool = testdb.Pool(t, url)
	refused(t, &reader, ask, "42501")
	b.Exec(t, "SELECT casq.grant_to('"+testdb.RoleName(t, url)+"', 'application')")
	if got, want := reader.Totals(t), (map[string]countertest.Pair{"7": {}}); !maps.Equal(got, want) {
		t.Errorf("a reader gets %v, want %v", got, want)
	}
	refused(t, &reader, "SELECT casq.group_scopes('artifact', 'pg_class', 'relname', 'relname')", "42501")

	owner, other := role(), role()
	b.Exec(t, "ALTER SCHEMA casq OWNER TO "+owner)
	defer b.Exec(t, "ALTER SCHEMA casq OWNER TO CURRENT_USER; ALTER TABLE projects OWNER TO CURRENT_USER; ALTER VIEW seen OWNER TO CURRENT_USER; ALTER VIEW above OWNER TO CURRENT_USER")
	refused(t, b, ask, "42501", owner+", may not read public.projects", "GRANT SELECT ON public.projects TO "+owner)
	b.Exec(t, "GRANT SELECT ON projects, seen, above TO "+owner)
	b.Exec(t, ask)
	b.Exec(t, "ALTER TABLE projects ENABLE ROW LEVEL SECURITY")
	refused(t, b, ask, "55000", "row security would hide rows of public.projects", "ALTER ROLE "+owner+" BYPASSRLS")
	b.Exec(t, "ALTER TABLE projects OWNER TO "+owner)
	b.Exec(t, ask)
	b.Exec(t, "ALTER TABLE projects FORCE ROW LEVEL SECURITY")
	refused(t, b, ask, "55000")
	b.Exec(t, "ALTER TABLE projects DISABLE ROW LEVEL SECURITY")

	b.Group(t, "seen")
	b.Exec(t, ask)
	// The planner evaluates what the owner of a table has put on it, also below a
	// view, and a view calls its functions, with the rights of casq's owner.
	const spy = "CREATE OR REPLACE FUNCTION spy(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS "
	b.Exec(t, spy+"'BEGIN RETURN $1; END'; ALTER FUNCTION spy(bigint) OWNER TO "+other+
		"; CREATE VIEW calling AS SELECT id, namespace_id FROM projects WHERE spy(1) > 0")
	for _, of := range []struct{ parents, given, refused, hint, taken string }{
		{"seen", "ALTER VIEW seen OWNER TO " + other, "public.seen belongs to " + other,
			"ALTER TABLE public.seen OWNER TO " + owner, "ALTER VIEW seen OWNER TO " + owner},
		{"seen", "ALTER TABLE projects OWNER TO " + other, "public.projects belongs to " + other,
			"ALTER TABLE public.projects OWNER TO " + owner, "ALTER TABLE projects OWNER TO " + owner},
		{"above", "ALTER VIEW seen OWNER TO " + other, "public.seen belongs to " + other,
			"ALTER TABLE public.seen OWNER TO " + owner, "ALTER VIEW seen OWNER TO " + owner},
		{"above", "ALTER TABLE projects OWNER TO " + other, "public.projects belongs to " + other,
			"ALTER TABLE public.projects OWNER TO " + owner, "ALTER TABLE projects OWNER TO " + owner},
		{"above", "CREATE OR REPLACE VIEW seen AS SELECT * FROM projects WHERE spy(1) > 0", "public.spy(bigint) belongs to " + other,
			"drop what uses", "CREATE OR REPLACE VIEW seen AS SELECT * FROM projects"},
		{"projects", "ALTER TABLE projects OWNER TO " + other + "; CREATE STATISTICS trap ON (spy(1)), id FROM projects",
			"public.projects belongs to " + other, "", "ALTER TABLE projects OWNER TO " + owner + "; DROP STATISTICS trap"},
		{"projects", "CREATE INDEX trap ON projects (id) WHERE spy(1) > 0",
			"public.spy(bigint) belongs to " + other, "public.spy(bigint). Or", "DROP INDEX trap"},
	} {
		b.Group(t, of.parents)
		b.Exec(t, of.given+"; "+spy+"$$ BEGIN RAISE 'ran as %', current_user; END $$")
		for _, sql := range []string{ask, "SELECT casq.scopes_of('artifact', '7')", "SELECT * FROM casq.total('artifact', '7')"} {
			refused(t, b, sql, "42501", of.refused, of.hint)
		}
		b.Exec(t, of.taken+"; "+spy+"'BEGIN RETURN $1; END'")
		b.Exec(t, ask)
	}
	refused(t, b, "SELECT casq.group_scopes('artifact', 'calling', 'id', 'namespace_id')", "42501", "public.spy(bigint) belongs to "+other)
	b.Exec(t, "DROP VIEW calling; DROP FUNCTION spy(bigint)")
}

// refused wants an error with this code and these words in it.
func refused(t *testing.T, b *countertest.Bundle, sql, code string, words ...string) {
	t.Helper()
	_, err := b.Pool.Exec(t.Context(), sql)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != code {
		t.Errorf("%s: %v, want SQLSTATE %s", sql, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(pgErr.Message+"\n"+pgErr.Hint, word) {
			t.Errorf("%s: says %q, %q, nothing of %q", sql, pgErr.Message, pgErr.Hint, word)
		}
	}
}
