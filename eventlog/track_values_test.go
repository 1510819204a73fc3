package eventlog_test

import (
	"context"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

const odd = `"Odd ""S%s"."W""ei'rd %1$s"`

func TestTrackQuotesNames(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE SCHEMA "Odd ""S%s"`,
		`CREATE TABLE `+odd+` ("K%I" text PRIMARY KEY, "p$" int, "s z" numeric(20, 0), "c%1$s'" text, "casq_new" int)`,
		`SELECT casq.track('`+strings.ReplaceAll(odd, "'", "''")+`', kind => 'odd', transfer => 'none', key_column => 'K%I',
			scope_column => 'p$', size_column => 's z', payload_columns => ARRAY['c%1$s''', 'casq_new'])`,
		`INSERT INTO `+odd+` VALUES ('a', 1, 5, 'c', 7); UPDATE `+odd+` SET "K%I" = 'b', "p$" = 2; DELETE FROM `+odd)
	b.wantEvents(t, `created a 1 +5 +1 {"size": 5, "c%1$s'": "c", "casq_new": 7}`,
		`deleted a 1 -5 -1 {}`, `created b 2 +5 +1 {"size": 5, "c%1$s'": "c", "casq_new": 7}`, `deleted b 2 -5 -1 {}`)
}

// What a payload says of each type. A type of the user's own is told as its
// text: its casts would run with casq's rights.
func TestTrackTellsTypes(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (x int, y text); CREATE DOMAIN notes AS json`,
		`CREATE FUNCTION steal(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
			CREATE CAST (mood AS json) WITH FUNCTION steal(mood)`,
		`CREATE TABLE resources (id uuid PRIMARY KEY, m mood, p pair, n notes, j json, d numeric, raw bytea, a int[], size text)`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'id',
			payload_columns => ARRAY['m', 'p', 'n', 'j', 'd', 'raw', 'a', 'size'])`,
		`INSERT INTO resources VALUES ('00000000-0000-0000-0000-00000000000A', 'sad', (1, NULL), '[1]', '{"b": 1}', 1.50, '\xFF', '{1,2}', 'big')`)
	const id = "00000000-0000-0000-0000-00000000000a " + "00000000-0000-0000-0000-00000000000a"
	b.wantEvents(t, `created `+id+` +0 +1 {"a": [1, 2], "d": 1.50, "j": {"b": 1}, "m": "sad", "n": [1], "p": "(1,)", "raw": "ff", "size": "big"}`)
	b.exec(t, `UPDATE resources SET j = '{ "b" : 1 }', n = '[ 1 ]'`)
	b.wantEvents(t)
	b.exec(t, `UPDATE resources SET j = NULL; UPDATE resources SET p = (2, NULL); UPDATE resources SET m = NULL, p = NULL`)
	b.wantEvents(t,
		`updated `+id+` +0 +0 {"a": [1, 2], "d": 1.50, "j": null, "m": "sad", "n": [1], "p": "(1,)", "raw": "ff", "size": "big"}`,
		`updated `+id+` +0 +0 {"a": [1, 2], "d": 1.50, "j": null, "m": "sad", "n": [1], "p": "(2,)", "raw": "ff", "size": "big"}`,
		`updated `+id+` +0 +0 {"a": [1, 2], "d": 1.50, "j": null, "m": null, "n": [1], "p": null, "raw": "ff", "size": "big"}`)
}

// Resources are told apart by their bytes, also where the column thinks that two
// texts are equal.
func TestTrackTellsKeysApartByBytes(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
		`CREATE TABLE names (name text COLLATE nocase PRIMARY KEY, note text COLLATE nocase)`,
		`SELECT casq.track('names', kind => 'name', transfer => 'none', key_column => 'name', payload_columns => ARRAY['note'])`,
		`INSERT INTO names VALUES ('Ada', 'x'); UPDATE names SET name = 'ADA'; UPDATE names SET note = 'X'`)
	b.wantEvents(t, `created Ada - +0 +1 {"note": "x"}`,
		`created ADA - +0 +1 {"note": "x"}`, `deleted Ada - +0 -1 {}`, `updated ADA - +0 +0 {"note": "X"}`)
}

func TestTrackRefusesValues(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE TABLE resources (key text PRIMARY KEY, size numeric(30, 0))`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'file', key_column => 'key', size_column => 'size')`)
	for _, c := range []struct {
		sql  string
		told []string
	}{
		{`INSERT INTO resources VALUES ('')`, []string{"kind resource", "1 to 1024 bytes", "has 0"}},
		{`INSERT INTO resources VALUES (repeat('ä', 513))`, []string{"kind resource", "1 to 1024 bytes", "has 1026"}},
		{`INSERT INTO resources VALUES ('big', 1e20)`, []string{"kind resource", "size 100000000000000000000", "bigint"}},
		{`INSERT INTO resources VALUES ('nan', 'NaN')`, []string{"kind resource", "size NaN", "bigint"}},
	} {
		wantRefused(t, run(t.Context(), b.pool, c.sql), c.told...)
	}
	b.exec(t, `INSERT INTO resources VALUES (repeat('x', 1024), 9223372036854775807)`)
	if n := len(b.events(t)); n != 1 {
		t.Fatalf("%d events; want 1", n)
	}
}

// What is told of a value does not depend on the session that wrote it, or asks.
func TestTrackTellsTheSameInEachSession(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE TYPE stay AS (at timestamptz, during tstzrange)`,
		`CREATE TABLE resources (id int PRIMARY KEY, at timestamptz, took interval, f float8, raw bytea, stay stay, price money, during tstzrange, days date[])`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id',
			payload_columns => ARRAY['at', 'took', 'f', 'raw', 'stay', 'price', 'during', 'days'])`)
	insert := func(id string) string {
		return `INSERT INTO resources SELECT ` + id + `, v.at, interval '1 day 02:03:04.5', 0.1::float8 + 0.2, '\xff00', ROW(v.at, tstzrange(v.at, v.at + interval '1 h'))::stay,
			12.5::numeric::money, tstzrange(v.at, v.at + interval '1 h'), ARRAY[date '2026-07-01'] FROM (SELECT timestamptz '2026-07-01 12:00:00+00' AS at) AS v`
	}
	conn := b.connect(t)
	if err := run(t.Context(), conn, insert("1")); err != nil {
		t.Fatal(err)
	}
	other := `SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'sql_standard'; SET datestyle = 'German'; SET bytea_output = 'escape'; SET extra_float_digits = -5`
	if err := run(t.Context(), conn, other); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{insert("2"), `UPDATE resources SET id = 3 WHERE id = 1`, `SELECT casq.backfill_rows('resource', '{2,3}', true)`} {
		if err := run(t.Context(), conn, sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	}{conn, b.pool} {
		var payloads []string
		err := c.QueryRow(t.Context(), `SELECT array_agg(DISTINCT payload) FROM (
			SELECT payload::text FROM casq.events WHERE op <> 'deleted'
			UNION ALL SELECT unnest(payloads)::jsonb::text FROM casq.resources('resource', NULL, 10, NULL)
			UNION ALL SELECT unnest(payloads)::jsonb::text FROM casq.resources_of('resource', '{2,3}', NULL)) AS told (payload)`).Scan(&payloads)
		if err != nil {
			t.Fatal(err)
		}
		if len(payloads) != 1 {
			t.Errorf("told in %d ways:\n%s", len(payloads), strings.Join(payloads, "\n"))
		}
	}
}

// What json may say, and jsonb may not, is told as its text.
func TestTrackTellsAnyJSON(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, `CREATE DOMAIN notes AS json`, `CREATE TABLE resources (id int PRIMARY KEY, j json, n notes, a json[])`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', payload_columns => ARRAY['j', 'n', 'a'])`,
		`INSERT INTO resources VALUES (1, '{"a": "\u0000"}', '"\ud800"', ARRAY['"\u0000"'::json]), (2, '{"a": "\\u0000"}', '1', ARRAY['[1]'::json])`,
		`UPDATE resources SET j = '{"a": "\u0000\u0000"}' WHERE id = 1; DELETE FROM resources WHERE id = 1`)
	b.wantEvents(t,
		`created 1 - +0 +1 {"a": "{\"\\\"\\\\u0000\\\"\"}", "j": "{\"a\": \"\\u0000\"}", "n": "\"\\ud800\""}`,
		`created 2 - +0 +1 {"a": [[1]], "j": {"a": "\\u0000"}, "n": 1}`,
		`updated 1 - +0 +0 {"a": "{\"\\\"\\\\u0000\\\"\"}", "j": "{\"a\": \"\\u0000\\u0000\"}", "n": "\"\\ud800\""}`,
		`deleted 1 - +0 -1 {}`)
}

// Postgres 18 generates a column whenever it is read, unless told to store it:
// the rows that a trigger is shown do not have it.
func TestTrackRefusesVirtualColumns(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := setupTrack(t)
	var major int
	if err := b.pool.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int / 10000`).Scan(&major); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `CREATE TABLE t (k text PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n + 1) STORED, s text GENERATED ALWAYS AS (k || 'x') STORED)`)
	if major >= 18 {
		b.exec(t, `ALTER TABLE t DROP COLUMN g, DROP COLUMN s; ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (n + 1), ADD COLUMN s text GENERATED ALWAYS AS (k || 'x')`)
	} else {
		b.exec(t, `SET allow_system_table_mods = on; UPDATE pg_attribute SET attgenerated = 'v' WHERE attrelid = 't'::regclass AND attname IN ('g', 's')`)
	}
	for _, options := range []string{`, scope_column => 's'`, `, size_column => 'g'`, `, payload_columns => ARRAY['n', 'g']`} {
		wantRefused(t, run(t.Context(), b.pool, call(options)), "generated anew whenever it is read", "GENERATED ALWAYS AS (...) STORED")
	}
	b.exec(t, call(`, payload_columns => ARRAY['n']`))
}
