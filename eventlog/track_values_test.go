package eventlog_test

import (
	"strings"
	"testing"
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
		`CREATE TABLE things (id uuid PRIMARY KEY, m mood, p pair, n notes, j json, d numeric, raw bytea, a int[], size text)`,
		`SELECT casq.track('things', kind => 'thing', transfer => 'none', key_column => 'id', scope_column => 'id',
			payload_columns => ARRAY['m', 'p', 'n', 'j', 'd', 'raw', 'a', 'size'])`,
		`INSERT INTO things VALUES ('00000000-0000-0000-0000-00000000000A', 'sad', (1, NULL), '[1]', '{"b": 1}', 1.50, '\xFF', '{1,2}', 'big')`)
	const id = "00000000-0000-0000-0000-00000000000a " + "00000000-0000-0000-0000-00000000000a"
	b.wantEvents(t, `created `+id+` +0 +1 {"a": [1, 2], "d": 1.50, "j": {"b": 1}, "m": "sad", "n": [1], "p": "(1,)", "raw": "ff", "size": "big"}`)
	b.exec(t, `UPDATE things SET j = '{ "b" : 1 }', n = '[ 1 ]'`)
	b.wantEvents(t)
	b.exec(t, `UPDATE things SET j = NULL; UPDATE things SET p = (2, NULL); UPDATE things SET m = NULL, p = NULL`)
	b.wantEvents(t,
		`updated `+id+` +0 +0 {"a": [1, 2], "d": 1.50, "j": null, "m": "sad", "n": [1], "p": "(1,)", "raw": "ff", "size": "big"}`,
		`updated `+id+` +0 +0 {"a": [1, 2], "d": 1.50, "j": null, "m": "sad", "n": [1], "p": "(2,)", "raw": "ff", "size": "big"}`,
		`updated `+id+` +0 +0 {"a": [1, 2], "d": 1.50, "j": null, "m": null, "n": [1], "p": null, "raw": "ff", "size": "big"}`)
}

// Things are told apart by their bytes, also where the column thinks that two
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
	b := setupTrack(t, `CREATE TABLE things (key text PRIMARY KEY, size numeric(30, 0))`,
		`SELECT casq.track('things', kind => 'thing', transfer => 'file', key_column => 'key', size_column => 'size')`)
	for _, c := range []struct {
		sql  string
		told []string
	}{
		{`INSERT INTO things VALUES ('')`, []string{"kind thing", "1 to 1024 bytes", "has 0"}},
		{`INSERT INTO things VALUES (repeat('ä', 513))`, []string{"kind thing", "1 to 1024 bytes", "has 1026"}},
		{`INSERT INTO things VALUES ('big', 1e20)`, []string{"kind thing", "size 100000000000000000000", "bigint"}},
		{`INSERT INTO things VALUES ('nan', 'NaN')`, []string{"kind thing", "size NaN", "bigint"}},
	} {
		wantRefused(t, run(t.Context(), b.pool, c.sql), c.told...)
	}
	b.exec(t, `INSERT INTO things VALUES (repeat('x', 1024), 9223372036854775807)`)
	if n := len(b.events(t)); n != 1 {
		t.Fatalf("%d events; want 1", n)
	}
}
