package eventlog_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A role that may write the table and nothing else, through row security too.
func TestTrackLogsForRolesWithoutRights(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, trackArtifacts, `INSERT INTO artifacts VALUES ('hidden', 1, 1, 's')`)
	b.events(t)
	url := b.db.RoleURL(t)
	role := testdb.RoleName(t, url)
	b.exec(t, `GRANT INSERT, UPDATE, DELETE, SELECT ON artifacts TO `+role+`;
		ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON artifacts TO `+role+` USING (path <> 'hidden')`)
	user := testdb.Pool(t, url)
	err := run(t.Context(), user, `INSERT INTO artifacts VALUES ('a', 1, 1, 's'); UPDATE artifacts SET size = 2; DELETE FROM artifacts`)
	if err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, `created a 1 +1 +1 {"sha": "s", "size": 1}`, `updated a 1 +1 +0 {"sha": "s", "size": 2}`, `deleted a 1 -2 -1 {}`)
}

// Else its owner could write events of resources that are not his.
func TestTriggerFunctionCannotBeBorrowed(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, trackArtifacts)
	url := b.db.RoleURL(t)
	b.exec(t, `GRANT USAGE ON SCHEMA casq TO `+testdb.RoleName(t, url))
	err := run(t.Context(), testdb.Pool(t, url), `CREATE TEMPORARY TABLE mine (path text);
		CREATE TRIGGER forge AFTER INSERT ON mine REFERENCING NEW TABLE AS casq_new
		FOR EACH STATEMENT EXECUTE FUNCTION casq.log_artifact()`)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Fatalf("got %v; want permission denied", err)
	}
}

// setupOrdinary returns a database that was migrated by an ordinary role: super
// is the bundle, ordinary a pool of that role.
func setupOrdinary(t *testing.T) (b *trackBundle, ordinary *pgxpool.Pool, role string) {
	t.Helper()
	testdb.NeedsSuperuser(t)
	db := testdb.Empty(t)
	b = &trackBundle{db: db, pool: db.Pool(t)}
	url := db.RoleURL(t)
	role = testdb.RoleName(t, url)
	// The event triggers are the superuser's, and look at what the role drops.
	t.Cleanup(func() {
		if err := run(context.Background(), b.pool, `DROP SCHEMA casq CASCADE`); err != nil {
			t.Error(err)
		}
	})
	b.exec(t, `GRANT CREATE ON DATABASE `+db.Name+` TO `+role+`; GRANT CREATE ON SCHEMA public TO `+role)
	if err := migrations.Up(t.Context(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return b, testdb.Pool(t, url), role
}

func TestTrackAsOrdinaryRole(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b, ordinary, _ := setupOrdinary(t)
	ctx := t.Context()
	if err := run(ctx, ordinary, plainTable+`; `+trackArtifacts+`; INSERT INTO artifacts VALUES ('a', 1, 1, 's')`); err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, `created a 1 +1 +1 {"sha": "s", "size": 1}`)
	const parts = `CREATE TABLE parts (k text PRIMARY KEY) PARTITION BY LIST (k)`
	const track = `SELECT casq.track('parts', kind => 'part', transfer => 'none', key_column => 'k')`
	if err := run(ctx, ordinary, parts); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, run(ctx, ordinary, track), "public.parts is partitioned", "superuser", "SELECT casq.install_event_trigger()")
	b.exec(t, `SELECT casq.install_event_trigger()`)
	if err := run(ctx, ordinary, track+`; CREATE TABLE part PARTITION OF parts DEFAULT; INSERT INTO part VALUES ('p')`); err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, `created p - +0 +1 {}`)
}

// Rows that its triggers cannot see would be logged as deleted.
func TestTrackNeedsToSeeAllRows(t *testing.T) {
	t.Parallel()
	b, ordinary, role := setupOrdinary(t)
	ctx := t.Context()
	b.exec(t, plainTable)
	wantRefused(t, run(ctx, b.pool, trackArtifacts), "has not the rights of the owner of public.artifacts", "ALTER TABLE public.artifacts OWNER TO "+role)
	b.exec(t, `ALTER TABLE artifacts OWNER TO `+role+`; ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`)
	wantRefused(t, run(ctx, ordinary, trackArtifacts), "row security is forced on public.artifacts", "NO FORCE ROW LEVEL SECURITY")
	b.exec(t, `ALTER TABLE artifacts NO FORCE ROW LEVEL SECURITY`)
	// A superuser may track for the role; the functions belong to casq's owner.
	b.exec(t, `SELECT casq.install_event_trigger(); `+trackArtifacts)
	wantRefused(t, run(ctx, ordinary, `ALTER TABLE artifacts FORCE ROW LEVEL SECURITY`), "row security is forced")
	b.exec(t, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`)
	b.wantEvents(t, `created a 1 +1 +1 {"sha": "s", "size": 1}`)
	var owner string
	err := b.pool.QueryRow(ctx, `SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'log_artifact'`).Scan(&owner)
	if err != nil || owner != role {
		t.Fatalf("casq.log_artifact belongs to %q, %v; want %s", owner, err, role)
	}
}

// Without event triggers row security can be forced later. What is hidden by it is
// then not told of as not being there.
func TestHiddenRowsAreNotTakenForNone(t *testing.T) {
	long.Test(t)
	t.Parallel()
	_, ordinary, _ := setupOrdinary(t)
	err := run(t.Context(), ordinary, docs+`; INSERT INTO docs VALUES (1, 1, 1); `+trackDocs+
		`; ALTER TABLE docs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`)
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []string{
		`SELECT casq.resources('doc', NULL, 10, NULL)`,
		`SELECT casq.resources_missing('doc', '{1}', NULL)`,
		`SELECT casq.backfill_page('doc', NULL, 10)`,
		`SELECT casq.count_rows('doc')`,
		`SELECT casq.sum_by_scope('doc', NULL)`,
		`SELECT casq.sum_beyond('doc', NULL, 10)`,
		`SELECT casq.has_scope('doc', '1')`,
		`UPDATE casq.tracked SET size_column = NULL`, // counting begins anew
	} {
		err := run(t.Context(), ordinary, ask)
		// Not by its text, which may be in any language.
		if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Routine != "check_enable_rls" {
			t.Errorf("%s: got %v, want that rows would be hidden", ask, err)
		}
	}
}

func TestMigrateDownGivesTablesBack(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, partitionedTable, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 1, 's')`)
	if err := migrations.Down(t.Context(), b.db.URL, 0, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE artifacts SET size = 2; TRUNCATE artifacts; DROP TABLE artifacts`)
}
