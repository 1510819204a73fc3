package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// asked is a question to the database, by roles of which some may.
type asked struct {
	sql string
	may []string
}

// Each role may do what it is for, and nothing else: whatever runs with the rights of
// casq's owner, too, is for those that it was granted to.
func TestGrants(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupTrack(t, docs, trackDocs, `INSERT INTO docs VALUES (1, 1, 5)`, `CREATE TABLE projects (id int PRIMARY KEY, parent int)`,
		`INSERT INTO projects VALUES (1, 7)`, `SELECT casq.group_scopes('doc', 'projects', 'id', 'parent')`, `SELECT casq.tick(true)`)
	conns := map[string]*pgx.Conn{}
	for _, what := range []string{"nothing", "worker", "follower", "application", "operator", "reader"} {
		url := b.db.RoleURL(t)
		if what == "nothing" {
			b.exec(t, `GRANT USAGE ON SCHEMA casq TO `+testdb.RoleName(t, url))
		} else {
			// Twice is harmless.
			b.exec(t, fmt.Sprintf(`SELECT casq.grant_to('%[1]s', '%[2]s'), casq.grant_to('%[1]s', '%[2]s')`, testdb.RoleName(t, url), what))
		}
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		conns[what] = conn
	}
	for _, a := range []asked{
		{`SELECT resource_id FROM casq.events`, []string{"worker", "follower", "operator", "reader"}},
		{`SELECT casq.resources('doc', NULL, 10, NULL)`, []string{"worker", "follower", "operator"}},
		{`SELECT casq.resources_of('doc', '{1}', NULL)`, []string{"worker", "follower", "operator"}},
		{`SELECT casq.resources_missing('doc', '{1}', NULL)`, []string{"worker", "follower", "operator"}},
		{`SELECT casq.check_scopes('doc', '{1}')`, []string{"worker", "follower", "operator"}},
		{`SELECT casq.report_follower('second', 1, gen_random_uuid())`, []string{"worker", "follower", "operator"}},
		{`SELECT casq.forget_follower('second')`, []string{"worker", "operator"}},
		{`SELECT casq.append_event('doc', 'by hand', 'created')`, []string{"application"}},
		{`SELECT casq.touch('doc', '1')`, []string{"worker", "application", "operator"}},
		{`INSERT INTO casq.events (xid, kind, resource_id, op) VALUES ('1099511627776', 'doc', 'x', 'created')`, nil},
		{`INSERT INTO casq.events (id, kind, resource_id, op) OVERRIDING SYSTEM VALUE VALUES (1099511627776, 'doc', 'x', 'created')`, nil},
		{`SELECT FROM casq.statistics`, []string{"worker", "application", "operator", "reader"}},
		{`SELECT casq.totals('doc')`, []string{"worker", "application", "operator", "reader"}},
		{`SELECT casq.total('doc', '7')`, []string{"worker", "application", "operator", "reader"}},
		{`SELECT casq.scopes_of('doc', '7')`, []string{"worker", "application", "operator", "reader"}},
		{`SELECT casq.sum_by_scope('doc', NULL)`, []string{"worker", "operator"}},
		{`SELECT casq.sum_beyond('doc', NULL, 10)`, []string{"worker", "operator"}},
		{`SELECT casq.has_scope('doc', '1')`, []string{"worker", "operator"}},
		{`SELECT casq.backfill_page('doc', NULL, 10)`, []string{"worker", "operator"}},
		{`SELECT casq.watch_tables()`, []string{"worker", "operator"}},
		{`SELECT casq.apply_source_changes('{1}', '{NULL}'), casq.do_view('doc', '1 day'), casq.watch_sources(), casq.prune_source_changes()`, []string{"worker", "operator"}},
		{`SELECT casq.compare_views()`, []string{"worker", "operator"}},
		{`INSERT INTO casq.source_changes (source) VALUES (1)`, nil},
		{`SELECT casq.tick(true)`, []string{"worker", "operator"}},
		{`UPDATE casq.registry SET version = version`, []string{"worker", "operator"}},
		{`UPDATE casq.tracked SET relation = relation`, nil},
		{`UPDATE casq.events SET payload = '{}'`, nil},
		{`SELECT casq.adopt_log()`, nil},
		{`DELETE FROM casq.events`, nil},
		{`DELETE FROM casq.ticks`, nil},
		{`SELECT casq.prune_ticks('1 day'), casq.prune_events(0)`, []string{"worker", "operator"}},
		{`TRUNCATE casq.events`, nil},
		{`SELECT FROM docs`, nil},
		{`SELECT casq.untrack('docs')`, nil},
		{`SELECT casq.grant_to(current_user::regrole, 'operator')`, nil},
		{`INSERT INTO casq.grants (role, what) VALUES (current_user, 'operator')`, nil},
		{`UPDATE casq.migration_version SET version = 0`, nil},
		{`CREATE TABLE casq.mine ()`, nil},
		{`DELETE FROM river.river_job`, []string{"worker", "operator"}},
		{`SELECT id, status, name FROM casq.builds`, []string{"worker", "application", "operator", "reader"}},
		{`SELECT job FROM casq.builds`, []string{"worker", "operator"}},
		{`SELECT token_hash FROM casq.builds`, []string{"worker", "operator"}},
		{`SELECT token_hash FROM casq.runners`, []string{"worker", "operator"}},
		{`SELECT bytes FROM casq.build_trace_chunks`, []string{"worker", "application", "operator"}},
		{`SELECT description FROM casq.runners`, []string{"worker", "operator", "reader"}},
		{`SELECT casq.why('doc', '1'), casq.why_build(1)`, []string{"worker", "operator", "reader"}},
	} {
		for role, conn := range conns {
			err := run(t.Context(), conn, a.sql)
			may := false
			for _, r := range a.may {
				may = may || r == role
			}
			var pgErr *pgconn.PgError
			if may && err != nil || !may && (!errors.As(err, &pgErr) || pgErr.Code != "42501") {
				t.Errorf("%s asks %s: %v; may: %v", role, a.sql, err, may)
			}
		}
	}
	if _, err := eventlog.Kinds(t.Context(), conns["follower"]); err != nil {
		t.Error(err)
	}
	if err := migrations.Check(t.Context(), conns["follower"]); err != nil {
		t.Error(err)
	}
}

// On a table of his own somebody chooses the types that a trigger's function works
// with, and so the casts that it calls with the rights of its owner.
func TestTriggerFunctionsAreNobodysElse(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, docs, trackDocs)
	url := b.db.RoleURL(t)
	role := testdb.RoleName(t, url)
	b.exec(t, `GRANT CREATE ON SCHEMA public TO `+role+`; SELECT casq.grant_to('`+role+`', 'operator')`)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run(context.Background(), conn, `DROP OWNED BY CURRENT_USER CASCADE`); err != nil {
			t.Error(err)
		}
		conn.Close(context.Background())
	})
	err = run(t.Context(), conn, `CREATE TYPE mine AS ENUM ('a');
		CREATE FUNCTION spied(mine) RETURNS regclass LANGUAGE plpgsql AS $$
		BEGIN PERFORM set_config('spy.ran_as', current_user, false); RETURN 'pg_class'::regclass; END $$;
		CREATE CAST (mine AS regclass) WITH FUNCTION spied(mine) AS IMPLICIT;
		CREATE TABLE own (kind text, relation mine, scope_column text, size_column text)`)
	if err != nil {
		t.Fatal(err)
	}
	for _, function := range []string{"begin_counting", "on_timeline", "log_doc"} {
		err := run(t.Context(), conn, `CREATE TRIGGER t AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION casq.`+function+`()`)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
			t.Errorf("casq.%s: got %v, want permission denied", function, err)
		}
		_ = run(t.Context(), conn, `INSERT INTO own VALUES ('doc', 'a')`)
		_ = run(t.Context(), conn, `DROP TRIGGER IF EXISTS t ON own`)
	}
	wantUnspied(t, conn)
}

// The role that asks is the one that SET ROLE has set, not the one that logged in.
func TestGrantsAreThoseOfTheCurrentRole(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := setupTrack(t, docs, trackDocs)
	url, plain := b.db.RoleURL(t), testdb.RoleName(t, b.db.RoleURL(t))
	role := testdb.RoleName(t, url)
	b.exec(t, `SELECT casq.grant_to('`+role+`', 'follower'); GRANT USAGE ON SCHEMA casq TO `+plain+`; GRANT `+plain+` TO `+role)
	err := run(t.Context(), testdb.Pool(t, url), `SELECT casq.resources('doc', NULL, 10, NULL); SET ROLE `+plain+`; SELECT casq.resources('doc', NULL, 10, NULL)`)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Errorf("got %v; want permission denied", err)
	}
}

// A role may be allowed to insert whole events.
func TestEventsHaveTheirWritersTransaction(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, docs, trackDocs)
	url := b.db.RoleURL(t)
	b.exec(t, `GRANT USAGE ON SCHEMA casq TO `+testdb.RoleName(t, url)+`; GRANT INSERT ON casq.events TO `+testdb.RoleName(t, url))
	err := run(t.Context(), testdb.Pool(t, url), `INSERT INTO casq.events (xid, kind, resource_id, op) VALUES ('1099511627776', 'doc', 'x', 'created')`)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "23514" {
		t.Errorf("got %v; want a check violation", err)
	}
}

// Such a role says no id either: one beyond the newest tick's would be read by
// nobody, and nothing would tell.
func TestEventsHaveIDsOfTheSequence(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, docs, trackDocs)
	url := b.db.RoleURL(t)
	b.exec(t, `GRANT USAGE ON SCHEMA casq TO `+testdb.RoleName(t, url)+`; GRANT INSERT ON casq.events TO `+testdb.RoleName(t, url))
	b.exec(t, `SELECT casq.append_event('doc', 'before', 'created')`)
	forged := `INSERT INTO casq.events (id, kind, resource_id, op) OVERRIDING SYSTEM VALUE VALUES (%s, 'doc', '%[1]s', 'created')`
	pool := testdb.Pool(t, url)
	for _, id := range []string{"1099511627776", "1", "0", "-1"} {
		if err := run(t.Context(), pool, fmt.Sprintf(forged, id)); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(t, `SELECT casq.append_event('doc', 'after', 'created')`)
	b.exec(t, `SELECT casq.tick(true)`)
	reader := eventlog.NewReader(b.pool, 2)
	p, err := reader.Start(t.Context())
	var read []string
	for more := true; more && err == nil; {
		var batch eventlog.Batch
		batch, err = reader.Next(t.Context(), p)
		for _, e := range batch.Events {
			read = append(read, e.ResourceID)
		}
		more, p = batch.Next != p, batch.Next
	}
	if want := []string{"before", "1099511627776", "1", "0", "-1", "after"}; err != nil || !slices.Equal(read, want) {
		t.Errorf("read %q, %v; want %q", read, err, want)
	}
}

// A later version may have more to grant, and must not give to everybody what
// runs with its owner's rights.
func TestGrantsAreExtendedByLaterMigrations(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, docs, trackDocs)
	url := b.db.RoleURL(t)
	role := testdb.RoleName(t, url)
	b.exec(t, `SELECT casq.grant_to('`+role+`', 'application'); CREATE TABLE casq.later (i int);
		CREATE FUNCTION casq.as_owner() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
		ALTER FUNCTION casq.privileges() RENAME TO earlier;
		CREATE FUNCTION casq.privileges() RETURNS TABLE (what text, privilege text) LANGUAGE sql AS
			'SELECT * FROM casq.earlier() UNION ALL VALUES (''application'', ''SELECT ON casq.later'')'`)
	if err := migrations.Up(t.Context(), b.db.URL, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), testdb.Pool(t, url), `SELECT FROM casq.later`); err != nil {
		t.Error(err)
	}
	var open string
	err := b.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), '') FROM pg_proc AS p
		WHERE p.pronamespace = 'casq'::regnamespace AND p.prosecdef
		AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee = 0)`).Scan(&open)
	if err != nil || open != "" {
		t.Errorf("everybody may call %s: %v", open, err)
	}
	b.exec(t, `SELECT casq.revoke_from('`+role+`', 'application')`)
	if err := run(t.Context(), testdb.Pool(t, url), `SELECT FROM casq.statistics`); err == nil {
		t.Error("what was taken back is still there")
	}
}
