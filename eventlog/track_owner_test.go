package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A table's owner chooses code that runs with the rights of whoever reads the
// table: the planner evaluates what its statistics and indexes are made of. casq
// reads tracked tables with the rights of its owner, so that an attacker who
// owned one would have these rights, too.
//
// spy is such code. It remembers as whom it ran, if that is another role than
// the attacker, for as long as the session lasts.
const spy = `CREATE FUNCTION spy(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF current_user <> '%[1]s' THEN
			PERFORM set_config('spy.ran_as', current_user, false);
		END IF;
		RETURN i;
	END $$;
	ALTER FUNCTION spy(int) OWNER TO %[1]s; GRANT CREATE, USAGE ON SCHEMA public TO %[1]s`

// traps are what its owner can put on the table docs.
var traps = map[string]string{
	"statistics":      `CREATE STATISTICS trap ON (spy(1)), id FROM docs`,
	"index":           `CREATE INDEX trap ON docs (spy(id))`,
	"partial index":   `CREATE INDEX trap ON docs (id) WHERE spy(1) = 1`,
	"check":           `ALTER TABLE docs ADD CONSTRAINT trap CHECK (spy(1) = 1)`,
	"operator":        `CREATE OPERATOR ~~~ (LEFTARG = int, RIGHTARG = int, PROCEDURE = spy2); CREATE INDEX trap ON docs ((id ~~~ 1))`,
	"domain":          `CREATE DOMAIN spied AS int CHECK (spy(VALUE) = VALUE); CREATE INDEX trap ON docs ((id::spied))`,
	"nothing at all":  `SELECT 1`,
	"generated value": `ALTER TABLE docs ADD COLUMN trap int GENERATED ALWAYS AS (spy(id)) STORED`,
}

const (
	docs      = `CREATE TABLE docs (id int PRIMARY KEY, project int, size bigint)`
	trackDocs = `SELECT casq.track('docs', kind => 'doc', transfer => 'none', key_column => 'id', scope_column => 'project', size_column => 'size')`
	spy2      = `CREATE FUNCTION spy2(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT public.spy($1)'; ALTER FUNCTION spy2(int, int) OWNER TO `
)

// setupAttacker returns a database that belongs to casq's owner, an attacker
// in it, and a connection of his.
func setupAttacker(t *testing.T) (b *trackBundle, attacker string, conn *pgx.Conn) {
	t.Helper()
	b = setupTrack(t)
	url := b.db.RoleURL(t)
	attacker = testdb.RoleName(t, url)
	b.exec(t, fmt.Sprintf(spy, attacker)+"; "+spy2+attacker)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close(context.Background())
		// Else he could not be dropped, whose functions they use.
		if err := run(context.Background(), b.pool, `DROP SCHEMA casq CASCADE; DROP TABLE IF EXISTS docs CASCADE`); err != nil {
			t.Error(err)
		}
	})
	return b, attacker, conn
}

// wantUnspied fails when the spy ran with other rights than the attacker's in
// the connection's session.
func wantUnspied(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	var ranAs string
	if err := conn.QueryRow(t.Context(), `SELECT coalesce(current_setting('spy.ran_as', true), '')`).Scan(&ranAs); err != nil {
		t.Fatal(err)
	}
	if ranAs != "" {
		t.Errorf("the attacker's function ran as %s", ranAs)
	}
}

// wantUntrusted expects that casq refuses a table, with a hint.
func wantUntrusted(t *testing.T, err error, parts ...string) {
	t.Helper()
	wantRefused(t, err, parts...)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		t.Fatalf("got %v, want an error of Postgres", err)
	}
	if pgErr.Code != "42501" || pgErr.Hint == "" {
		t.Errorf("%s: code %s, hint %q; want 42501 and a hint", pgErr.Message, pgErr.Code, pgErr.Hint)
	}
}

func TestTrackRefusesATableOfAnother(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, attacker, conn := setupAttacker(t)
			if err := run(t.Context(), conn, docs+`; INSERT INTO docs VALUES (1, 1, 1); `+trap); err != nil {
				t.Fatal(err)
			}
			super := b.connect(t)
			err := run(t.Context(), super, trackDocs)
			wantUnspied(t, super)
			wantUntrusted(t, err, "public.docs belongs to "+attacker, "ALTER TABLE public.docs OWNER TO")
			// He gets nothing in return for giving it away, either.
			b.exec(t, `ALTER TABLE docs OWNER TO CURRENT_USER; GRANT ALL ON docs TO `+attacker)
			err = run(t.Context(), super, trackDocs)
			wantUnspied(t, super)
			switch name {
			case "nothing at all", "generated value":
				if err != nil {
					t.Error(err)
				}
			default:
				wantUntrusted(t, err, attacker, "public.docs")
			}
			if err := run(t.Context(), conn, `INSERT INTO docs VALUES (2, 1, 1)`); err != nil {
				t.Error(err)
			}
			wantUnspied(t, conn)
		})
	}
}

// connect returns a session of its own, as superuser.
func (b *trackBundle) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// What is tracked may be given away later.
func TestTrackedTableIsGivenAway(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	const give = `ALTER TABLE docs OWNER TO `
	t.Run("with event triggers", func(t *testing.T) {
		t.Parallel()
		b, attacker, _ := setupAttacker(t)
		b.exec(t, docs+`; `+trackDocs)
		wantUntrusted(t, run(t.Context(), b.pool, give+attacker), "public.docs belongs to "+attacker)
		b.exec(t, `CREATE ROLE `+attacker+`_2; ALTER TABLE docs RENAME TO renamed; ALTER TABLE renamed RENAME TO docs`)
		defer b.exec(t, `DROP ROLE `+attacker+`_2`)
		b.exec(t, `CREATE TABLE parts (k int PRIMARY KEY) PARTITION BY LIST (k); CREATE TABLE part PARTITION OF parts DEFAULT;
			SELECT casq.track('parts', kind => 'part', transfer => 'none', key_column => 'k')`)
		wantUntrusted(t, run(t.Context(), b.pool, `ALTER TABLE part OWNER TO `+attacker), "public.part belongs to "+attacker)
		wantUntrusted(t, run(t.Context(), b.pool, `CREATE TABLE more (k int PRIMARY KEY); ALTER TABLE more OWNER TO `+attacker+`;
			ALTER TABLE parts DETACH PARTITION part; ALTER TABLE parts ATTACH PARTITION more FOR VALUES IN (1)`), "public.more belongs to "+attacker)
	})
	for name, ask := range map[string]string{
		"insert":      `INSERT INTO docs VALUES (2, 1, 1)`,
		"update":      `UPDATE docs SET size = 2`,
		"delete":      `DELETE FROM docs`,
		"page":        `SELECT casq.resources('doc', NULL, 10, NULL)`,
		"keys":        `SELECT casq.resources_of('doc', '{1}', NULL)`,
		"missing":     `SELECT casq.resources_missing('doc', '{1}', NULL)`,
		"page in":     `SELECT casq.resources('doc', NULL, 10, '{1}')`,
		"keys in":     `SELECT casq.resources_of('doc', '{1}', '{1}')`,
		"missing in":  `SELECT casq.resources_missing('doc', '{1}', '{1}')`,
		"sums":        `SELECT casq.sum_by_scope('doc', NULL)`,
		"sum":         `SELECT casq.sum_by_scope('doc', '{1}')`,
		"next sums":   `SELECT casq.sum_beyond('doc', NULL, 10)`,
		"a scope":     `SELECT casq.has_scope('doc', '1')`,
		"backfill":    `SELECT casq.backfill_page('doc', NULL, 10)`,
		"backfill of": `SELECT casq.backfill_rows('doc', '{1}', true)`,
		"align":       `SELECT casq.align('doc')`,
	} {
		t.Run("without/"+name, func(t *testing.T) {
			t.Parallel()
			b, attacker, conn := setupAttacker(t)
			b.exec(t, `DROP EVENT TRIGGER IF EXISTS casq_ddl; DROP EVENT TRIGGER IF EXISTS casq_drop; DROP EVENT TRIGGER IF EXISTS casq_rewrite;
				`+docs+`; INSERT INTO docs VALUES (1, 1, 1); `+trackDocs+`; `+give+attacker)
			if err := run(t.Context(), conn, traps["statistics"]); err != nil {
				t.Fatal(err)
			}
			session := b.connect(t)
			if !strings.HasPrefix(ask, "SELECT") {
				session = conn
			}
			err := run(t.Context(), session, ask)
			wantUnspied(t, session)
			wantUntrusted(t, err, "public.docs belongs to "+attacker, "casq.untrack('public.docs')")
			// The way out reads nothing of it.
			b.exec(t, `SELECT casq.untrack('docs')`)
			if err := run(t.Context(), conn, `INSERT INTO docs VALUES (3, 1, 1)`); err != nil {
				t.Error(err)
			}
		})
	}
}

// A table may be given away while a snapshot is open that still shows its owner of
// before. Whoever holds that open waits for it.
func TestTrackedTableIsGivenAwayBehindASnapshot(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	for name, ask := range map[string]string{
		"insert": `INSERT INTO docs VALUES (2, 1, 1)`,
		"update": `UPDATE docs SET size = 2`,
		"delete": `DELETE FROM docs`,
		"page":   `SELECT casq.resources('doc', NULL, 10, NULL)`,
		"keys":   `SELECT casq.resources_of('doc', '{1}', NULL)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, attacker, conn := setupAttacker(t)
			b.exec(t, docs+`; INSERT INTO docs VALUES (1, 1, 1); `+trackDocs+`; GRANT ALL ON docs TO `+attacker+
				`; SELECT casq.grant_to('`+attacker+`', 'follower')`)
			if err := run(t.Context(), conn, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT`); err != nil {
				t.Fatal(err)
			}
			b.exec(t, `SET casq.aligning = 'on'; ALTER TABLE docs OWNER TO `+attacker+`; RESET casq.aligning`)
			other, err := pgx.Connect(t.Context(), conn.Config().ConnString())
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close(context.Background())
			if err := run(t.Context(), other, traps["statistics"]); err != nil {
				t.Fatal(err)
			}
			err = run(t.Context(), conn, ask)
			if err := run(t.Context(), conn, `COMMIT`); err != nil { // or else, ROLLBACK
				t.Fatal(err)
			}
			wantUnspied(t, conn)
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || pgErr.Code != "40001" || pgErr.Hint == "" {
				t.Errorf("got %v, want a failure to serialize, and a hint", err)
			}
		})
	}
}

// What an older snapshot does not show need not be about whose a table is; and what
// was rolled back is not.
func TestTrackedTableIsAlteredBehindASnapshot(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, docs, `INSERT INTO docs VALUES (1, 1, 1)`, trackDocs)
	b.alteredBehindASnapshot(t)
}

// Rows of the catalogue have the lower half of a transaction's number only. After 2^32
// of them it means another one.
func TestTrackedTableIsAlteredInALaterEpoch(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t)
	if err := cluster.Primary.SetEpoch(t.Context(), 3); errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err) // a server without its tools
	} else if err != nil {
		t.Fatal(err)
	}
	b := &trackBundle{db: &testdb.DB{URL: cluster.URL()}, pool: testdb.Pool(t, cluster.URL())}
	b.exec(t, docs+`; INSERT INTO docs VALUES (1, 1, 1); `+trackDocs)
	b.alteredBehindASnapshot(t)
}

func (b *trackBundle) alteredBehindASnapshot(t *testing.T) {
	t.Helper()
	old, other := b.connect(t), b.connect(t)
	for _, c := range []struct{ alter, begin, code string }{
		{`BEGIN; COMMENT ON TABLE docs IS 'x'; ALTER TABLE docs ADD COLUMN c int; ROLLBACK`, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT`, ""},
		{`GRANT SELECT ON docs TO PUBLIC`, `BEGIN; SELECT`, ""},
		{`REVOKE SELECT ON docs FROM PUBLIC`, `BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT`, "40001"},
		{`SELECT`, `BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT s; ALTER TABLE docs ADD COLUMN c int; ROLLBACK TO s`, ""},
		{`SELECT`, `BEGIN ISOLATION LEVEL REPEATABLE READ; ALTER TABLE docs ADD COLUMN c int`, ""},
	} {
		err := errors.Join(run(t.Context(), old, c.begin), run(t.Context(), other, c.alter))
		if err != nil {
			t.Fatal(err)
		}
		err = run(t.Context(), old, `UPDATE docs SET size = size + 1`)
		var pgErr *pgconn.PgError
		if c.code == "" && err != nil || c.code != "" && (!errors.As(err, &pgErr) || pgErr.Code != c.code) {
			t.Errorf("%s; %s: %v, want %q", c.begin, c.alter, err, c.code)
		}
		if err := run(t.Context(), old, `ROLLBACK`); err != nil {
			t.Fatal(err)
		}
	}
}

// REASSIGN OWNED fires no event trigger.
func TestPartitionIsReassigned(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b, attacker, conn := setupAttacker(t)
	b.exec(t, `CREATE TABLE docs (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE one PARTITION OF docs FOR VALUES IN (1);
		CREATE TABLE more PARTITION OF docs DEFAULT; SELECT casq.track('docs', kind => 'doc', transfer => 'none', key_column => 'id');
		CREATE ROLE `+attacker+`_2; DO $$ BEGIN EXECUTE format('GRANT %I TO `+attacker+`_2', current_user); END $$; GRANT CREATE ON SCHEMA public TO `+attacker+`_2;
		ALTER TABLE more OWNER TO `+attacker+`_2; REASSIGN OWNED BY `+attacker+`_2 TO `+attacker+`; DROP OWNED BY `+attacker+`_2; DROP ROLE `+attacker+`_2;
		GRANT ALL ON docs TO `+attacker)
	if err := run(t.Context(), conn, `CREATE STATISTICS trap ON (spy(1)), id FROM more`); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), conn, `INSERT INTO docs VALUES (1)`)
	wantUnspied(t, conn)
	wantUntrusted(t, err, "public.more belongs to "+attacker)
}
