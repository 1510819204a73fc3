package eventlog_test

import (
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const withoutEventTriggers = `DROP EVENT TRIGGER IF EXISTS casq_ddl; DROP EVENT TRIGGER IF EXISTS casq_drop; DROP EVENT TRIGGER IF EXISTS casq_rewrite`

// No trigger sees what such a command does to the rows.
func TestTrackRefusesNewValuesWithoutAnEvent(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	for _, c := range []struct{ name, sql, refused string }{
		{"size", `ALTER TABLE artifacts ALTER size TYPE bigint USING size * 1024`, "is tracked, and a column that is told of would get new values"},
		{"key", `ALTER TABLE artifacts ALTER path TYPE text USING 'p' || path`, "would get new values without an event"},
		{"payload", `ALTER TABLE artifacts ALTER sha TYPE text USING upper(sha)`, "casq.untrack('public.artifacts')"},
		{"scope", `ALTER TABLE artifacts ALTER project_id TYPE text`, "enqueue reconcile --kind artifact"},
		{"another column", `ALTER TABLE artifacts ALTER hits TYPE bigint USING 7`, ""},
		{"a new column", `ALTER TABLE artifacts ADD COLUMN at float DEFAULT random()`, ""},
		{"no rewrite", `ALTER TABLE artifacts ALTER size SET STATISTICS 7; ALTER TABLE artifacts ALTER hits TYPE bigint`, ""},
		{"untracked meanwhile", `SELECT casq.untrack('artifacts'); ALTER TABLE artifacts ALTER size TYPE bigint USING size * 1024; ` + trackArtifacts, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, table := range []string{plainTable, partitionedTable} {
				if c.name == "key" && table == partitionedTable {
					continue // Postgres refuses it itself
				}
				b := setupTrack(t, table, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`)
				err := run(t.Context(), b.pool, c.sql)
				if c.refused == "" && err != nil {
					t.Error(err)
				} else if c.refused != "" {
					wantRefused(t, err, c.refused)
				}
			}
		})
	}
}

// Without event triggers the application's statements go on, and casq finds out.
func TestTrackFollowsTypesWithoutEventTriggers(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := setupTrack(t, withoutEventTriggers, `CREATE TABLE resources (id int PRIMARY KEY, owner uuid NOT NULL, size int)`,
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'id', scope_column => 'owner', size_column => 'size')`,
		`INSERT INTO resources VALUES (1, '00000000-0000-0000-0000-000000000001', 1)`,
		`ALTER TABLE resources ALTER id TYPE bigint, ALTER owner TYPE text, ALTER size TYPE bigint`)
	b.events(t)
	b.exec(t, `INSERT INTO resources VALUES (3000000000, 'somebody', 3000000000); UPDATE resources SET size = 5000000000 WHERE id = 1; DELETE FROM resources WHERE id = 1`)
	want := []string{`created 3000000000 somebody +3000000000 +1 {"size": 3000000000}`,
		`updated 1 00000000-0000-0000-0000-000000000001 +4999999999 +0 {"size": 5000000000}`,
		`deleted 1 00000000-0000-0000-0000-000000000001 -5000000000 -1 {}`}
	b.wantEvents(t, want...)
}

// watched returns what casq finds where it searches, as a worker's role, for what no
// event trigger refused.
func (b *trackBundle) watched(t *testing.T) string {
	t.Helper()
	url := b.db.RoleURL(t)
	b.exec(t, `SELECT casq.grant_to('`+testdb.RoleName(t, url)+`', 'worker')`)
	rows, err := testdb.Pool(t, url).Query(t.Context(), `SELECT casq.watch_tables()`)
	if err != nil {
		t.Fatal(err)
	}
	said, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(said, "\n")
}

func TestWatchTables(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	for _, c := range []struct {
		name, sql, said string
		exact           bool
		scans           int
	}{
		{"nothing", `SELECT 1`, "", true, 0},
		{"new values", `ALTER TABLE artifacts ALTER size TYPE bigint USING size * 1024`, "a column of public.artifacts that kind artifact tells of got new values", false, 1},
		{"another type", `ALTER TABLE artifacts ALTER project_id TYPE text`, "got new values", false, 1},
		{"another column", `ALTER TABLE artifacts ALTER hits TYPE bigint`, "", true, 0},
		{"no rewrite", `ALTER TABLE artifacts ALTER size SET STATISTICS 7`, "", true, 0},
		{"a column that is gone", `ALTER TABLE artifacts DROP COLUMN sha`, "has no column sha", true, 0},
		{"replaced", `ALTER TABLE artifacts RENAME TO old; CREATE TABLE artifacts ()`,
			"public.artifacts is another table now, and kind artifact still follows the one that it was, public.old", true, 0},
		{"renamed", `ALTER TABLE artifacts RENAME TO old`, "", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, withoutEventTriggers, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`, c.sql)
			if said := b.watched(t); !strings.Contains(said, c.said) || (said == "") != (c.said == "") {
				t.Errorf("says %q; want %q", said, c.said)
			}
			var exact bool
			var scans int
			if err := b.pool.QueryRow(t.Context(), `SELECT complete, (SELECT count(*) FROM casq.scans) FROM casq.counter_kinds`).Scan(&exact, &scans); err != nil {
				t.Fatal(err)
			}
			if exact != c.exact || scans != c.scans {
				t.Errorf("exact %v, %d recounts; want %v, %d", exact, scans, c.exact, c.scans)
			}
			if said := b.watched(t); c.name != "replaced" && said != "" {
				t.Errorf("says again: %s", said)
			}
		})
	}
	// An older installation: what is altered is followed, and nothing is refused.
	t.Run("only the event trigger that refuses is not there", func(t *testing.T) {
		t.Parallel()
		b := setupTrack(t, `DROP EVENT TRIGGER casq_rewrite`, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`,
			`ALTER TABLE artifacts ALTER size TYPE bigint USING size * 1024`)
		var complete bool
		if err := b.pool.QueryRow(t.Context(), `SELECT complete FROM casq.counter_kinds`).Scan(&complete); err != nil || complete {
			t.Errorf("complete: %v, %v; want it not to be", complete, err)
		}
	})
	t.Run("written anew as it is", func(t *testing.T) {
		t.Parallel()
		b := setupTrack(t, withoutEventTriggers, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`)
		b.exec(t, `VACUUM FULL artifacts`)
		if said := b.watched(t); said != "" {
			t.Error(said)
		}
	})
}

// A table is made anew beside the tracked one, and put in its place: casq follows
// the old one, and says so.
func TestTrackSaysThatATableWasReplaced(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := setupTrack(t, plainTable, trackArtifacts)
	var said []string
	config, err := pgx.ParseConfig(b.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.SeverityUnlocalized+" "+n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	err = run(t.Context(), conn, `CREATE TABLE made (LIKE artifacts INCLUDING ALL); ALTER TABLE artifacts RENAME TO old; ALTER TABLE made RENAME TO artifacts`)
	if err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.HasPrefix(said[0], "WARNING casq: public.artifacts is another table now") {
		t.Errorf("said: %q", said)
	}
	// Meant so.
	b.exec(t, strings.Replace(trackArtifacts, "'artifacts'", "'old'", 1))
	if said := b.watched(t); said != "" {
		t.Error(said)
	}
}

// Where home follows this very log the registry is compared, too: its rows tell of
// the values of before. Whose registry follows another log has nothing to compare.
func TestWatchTablesAsksForAComparison(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	for timeline, want := range map[string]string{"l.id": "artifact asked", "gen_random_uuid()": ""} {
		t.Run(timeline, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, withoutEventTriggers, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`,
				`SELECT casq.tick(true)`,
				`INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce)
					SELECT 'registry', 1, l.timeline, `+timeline+`, t.id, t.nonce FROM casq.timelines AS l JOIN casq.ticks AS t USING (timeline) ORDER BY t.id DESC LIMIT 1`,
				`ALTER TABLE artifacts ALTER size TYPE bigint USING size * 1024`)
			for range 2 {
				b.watched(t)
			}
			var asked string
			if err := b.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(kind || ' ' || reason, ', '), '') FROM casq.reconcile_runs`).Scan(&asked); err != nil || asked != want {
				t.Errorf("asked for %q, want %q, %v", asked, want, err)
			}
		})
	}
}
