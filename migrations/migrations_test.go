package migrations_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

var must = expect.NoError

// catalog describes all that a database holds beyond Postgres' own: a line per
// object, with what it is made of.
func catalog(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		WITH ours AS (
			SELECT oid, nspname FROM pg_namespace
			WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
		)
		SELECT 'schema ' || nspname FROM ours
		UNION ALL
		SELECT format('relation %s.%s %s %s %s', n.nspname, c.relname, c.relkind, c.reloptions,
			CASE WHEN c.relkind IN ('v', 'm') THEN md5(pg_get_viewdef(c.oid))
			     WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid) END)
		FROM pg_class AS c JOIN ours AS n ON n.oid = c.relnamespace
		UNION ALL
		SELECT format('column %s.%s.%s %s %s %s %s', n.nspname, c.relname, a.attname,
			format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
		FROM pg_attribute AS a
		JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'c')
		JOIN ours AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT format('constraint %s.%s %s', n.nspname, o.conname, pg_get_constraintdef(o.oid))
		FROM pg_constraint AS o JOIN ours AS n ON n.oid = o.connamespace
		UNION ALL
		SELECT format('function %s.%s(%s) %s %s', n.nspname, p.proname,
			pg_get_function_identity_arguments(p.oid), md5(pg_get_functiondef(p.oid)), p.proacl)
		FROM pg_proc AS p JOIN ours AS n ON n.oid = p.pronamespace
		UNION ALL
		SELECT format('type %s.%s %s %s', n.nspname, y.typname, y.typtype,
			(SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = y.oid))
		FROM pg_type AS y JOIN ours AS n ON n.oid = y.typnamespace
		UNION ALL
		SELECT format('trigger %s on %s %s', tgname, tgrelid::regclass, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL
		SELECT format('event trigger %s %s', evtname, evtenabled) FROM pg_event_trigger
		UNION ALL
		SELECT 'extension ' || extname FROM pg_extension
		ORDER BY 1`)
	must(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return strings.Join(lines, "\n")
}

// same fails with the lines that only one of two catalogs has.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	in := func(catalog string) map[string]bool {
		set := make(map[string]bool)
		for line := range strings.SplitSeq(catalog, "\n") {
			set[line] = true
		}
		return set
	}
	had, has := in(want), in(got)
	for line := range has {
		if !had[line] {
			t.Errorf("%s: more than before: %s", what, line)
		}
	}
	for line := range had {
		if !has[line] {
			t.Errorf("%s: gone: %s", what, line)
		}
	}
}

func version(t *testing.T, url string) migrations.Status {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	status, err := migrations.Read(t.Context(), conn)
	must(t, err)
	return status
}

func TestUpDownUpOfEachVersion(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.Empty(t)
	pool := db.Pool(t)
	before := catalog(t, pool)
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	top := catalog(t, pool)
	latest := version(t, db.URL).Latest

	// Down one by one, to the top again each time, and back to where it was:
	// each step finds what it needs and leaves what was there before it.
	at := map[int32]string{latest: top}
	for v := latest - 1; v > 0; v-- {
		must(t, migrations.Down(t.Context(), db.URL, v, quiet))
		at[v] = catalog(t, pool)
	}
	for v := int32(1); v < latest; v++ {
		must(t, migrations.Up(t.Context(), db.URL, quiet))
		same(t, fmt.Sprintf("up from %d", v), catalog(t, pool), top)
		must(t, migrations.Down(t.Context(), db.URL, v, quiet))
		same(t, fmt.Sprintf("down to %d", v), catalog(t, pool), at[v])
		if got := version(t, db.URL).Version; got != v {
			t.Errorf("got version %d, want %d", got, v)
		}
	}
	must(t, migrations.Down(t.Context(), db.URL, 0, quiet))
	same(t, "down to nothing", catalog(t, pool), before)
	must(t, migrations.Down(t.Context(), db.URL, 0, quiet))
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	same(t, "up from nothing, again", catalog(t, pool), top)
}

// An operator may make the two indexes of River's again that casq drops: they stay there, also
// on the way down, which makes them, too.
func TestRiversIndexesMadeAgain(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.Empty(t)
	pool := db.Pool(t)
	there := func() (n int) {
		must(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_indexes WHERE schemaname = 'river' AND indexname IN ('river_job_args_index', 'river_job_metadata_index')").Scan(&n))
		return n
	}
	wants := func(when string, want int) {
		t.Helper()
		if got := there(); got != want {
			t.Errorf("%s: %d of the two are there, want %d", when, got, want)
		}
	}
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	wants("up", 0)
	for _, sql := range []string{
		"CREATE INDEX CONCURRENTLY river_job_args_index ON river.river_job USING GIN (args)",
		"CREATE INDEX CONCURRENTLY river_job_metadata_index ON river.river_job USING GIN (metadata)",
	} {
		_, err := pool.Exec(t.Context(), sql)
		must(t, err)
	}
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	wants("made again, and up", 2)
	must(t, migrations.Down(t.Context(), db.URL, 4, quiet))
	wants("down", 2)
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	wants("up again", 0)
	must(t, migrations.Down(t.Context(), db.URL, 0, quiet))
}

// What is asked about before a way down is what it drops.
func TestLostIsWhatGoes(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.Empty(t)
	pool := db.Pool(t)
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	tables := func() (names []string) {
		rows, err := pool.Query(t.Context(), "SELECT 'casq.' || tablename FROM pg_tables WHERE schemaname = 'casq' ORDER BY 1")
		must(t, err)
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		return names
	}
	all := tables()
	for v := version(t, db.URL).Latest - 1; v > 0; v-- {
		must(t, migrations.Down(t.Context(), db.URL, v, quiet))
		lost, err := migrations.LostNames(v)
		must(t, err)
		if got := slices.Sorted(slices.Values(append(tables(), lost...))); !slices.Equal(got, all) {
			t.Errorf("version %d has %v and lost %v, of %v", v, tables(), lost, all)
		}
	}
}

// What a user has tracked stays, without the triggers.
func TestDownWithATrackedTable(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.Empty(t)
	pool := db.Pool(t)
	for _, sql := range []string{
		"CREATE TABLE resources (name text PRIMARY KEY)",
		"CREATE TABLE parts (name text PRIMARY KEY) PARTITION BY LIST (name)",
		"CREATE TABLE part_a PARTITION OF parts FOR VALUES IN ('a')",
		"CREATE VIEW shown AS SELECT name FROM resources",
	} {
		_, err := pool.Exec(t.Context(), sql)
		must(t, err)
	}
	before := catalog(t, pool)
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	for _, sql := range []string{
		"SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'name')",
		"SELECT casq.track('parts', kind => 'part', transfer => 'none', key_column => 'name')",
		"INSERT INTO resources VALUES ('one')",
		"INSERT INTO part_a VALUES ('a')",
		"SELECT casq.begin_artifact('builds/1/1/archive/a', 1, 1)", // tracks one of casq's own
		`SELECT casq.track_view('shown', kind => 'shown', transfer => 'none', id_column => 'name', key_column => 'name',
			sources => '{"resources": "SELECT name FROM changed"}')`,
	} {
		_, err := pool.Exec(t.Context(), sql)
		must(t, err)
	}
	must(t, migrations.Down(t.Context(), db.URL, 0, quiet))
	same(t, "down to nothing", catalog(t, pool), before)
	var n int
	must(t, pool.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM resources) + (SELECT count(*) FROM parts)").Scan(&n))
	if n != 2 {
		t.Errorf("%d rows of the user's are left, want 2", n)
	}
}

// Its changes are logged as before when what is above tracking comes again, and
// it is counted, not exactly: nobody has looked at its rows.
func TestDownAndUpAboveATrackedTable(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	for _, sql := range []string{
		"CREATE TABLE resources (name text PRIMARY KEY, scope text)",
		"SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'name', scope_column => 'scope')",
	} {
		_, err := pool.Exec(t.Context(), sql)
		must(t, err)
	}
	const tracking = 3
	must(t, migrations.Down(t.Context(), db.URL, tracking, quiet))
	_, err := pool.Exec(t.Context(), "INSERT INTO resources VALUES ('one', 'a')")
	must(t, err)
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	_, err = pool.Exec(t.Context(), "INSERT INTO resources VALUES ('two', 'a')")
	must(t, err)
	var events int
	var complete bool
	must(t, pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM casq.events),
		(SELECT complete FROM casq.counter_kinds WHERE kind = 'resource')`).Scan(&events, &complete))
	if events != 2 || complete {
		t.Errorf("%d events, want 2; counters are complete: %t, want false", events, complete)
	}
}

// counting counts the migrations that were applied.
func counting() (logger *slog.Logger, applied func() int) {
	var mu sync.Mutex
	var out bytes.Buffer
	logger = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), nil))
	return logger, func() int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(out.String(), "msg=migrating")
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestTwentyAtOnceThenTwice(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.Empty(t)
	once, appliedOnce := counting()
	must(t, migrations.Up(t.Context(), testdb.Empty(t).URL, once))
	logger, applied := counting()
	var group sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		group.Go(func() { errs[i] = migrations.Up(t.Context(), db.URL, logger) })
	}
	group.Wait()
	must(t, errors.Join(errs...))
	if applied() != appliedOnce() || applied() == 0 {
		t.Errorf("twenty at once applied %d migrations, one alone %d", applied(), appliedOnce())
	}
	must(t, migrations.Up(t.Context(), db.URL, logger))
	if applied() != appliedOnce() {
		t.Errorf("a second time applied %d more", applied()-appliedOnce())
	}
	must(t, migrations.Check(t.Context(), db.Pool(t)))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	db := testdb.Empty(t)
	pool := db.Pool(t)
	if err := migrations.Check(t.Context(), pool); !errors.Is(err, migrations.ErrNotMigrated) {
		t.Errorf("empty database: %v", err)
	}
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	latest := version(t, db.URL).Latest
	must(t, migrations.Down(t.Context(), db.URL, latest-1, quiet))
	if err := migrations.Check(t.Context(), pool); !errors.Is(err, migrations.ErrNotMigrated) {
		t.Errorf("one behind: %v", err)
	}
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	must(t, migrations.Check(t.Context(), pool))
}

func TestNewerDatabaseIsLeftAlone(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	_, err := pool.Exec(t.Context(), "UPDATE casq.migration_version SET version = version + 1; UPDATE casq.installation SET oldest_program = 4000")
	must(t, err)
	before := catalog(t, pool)
	for what, err := range map[string]error{
		"check":     migrations.Check(t.Context(), pool),
		"up":        migrations.Up(t.Context(), db.URL, quiet),
		"down":      migrations.Down(t.Context(), db.URL, 1, quiet),
		"to zero":   migrations.Down(t.Context(), db.URL, 0, quiet),
		"up, again": migrations.Up(t.Context(), db.URL, quiet),
	} {
		if !errors.Is(err, migrations.ErrNewer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	same(t, "newer database", catalog(t, pool), before)
}

// Its version is that of other migrations, whatever it is.
func TestDatabaseOfAnEarlierCheckoutIsLeftAlone(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, v := range []int32{0, 1, 15} {
		db := testdb.Empty(t)
		pool := db.Pool(t)
		for _, sql := range []string{
			"CREATE SCHEMA casq",
			"CREATE TABLE casq.schema_version (version integer NOT NULL)",
			fmt.Sprintf("INSERT INTO casq.schema_version VALUES (%d)", v),
			"CREATE TABLE casq.kinds (kind text PRIMARY KEY)",
		} {
			_, err := pool.Exec(t.Context(), sql)
			must(t, err)
		}
		before := catalog(t, pool)
		_, read := migrations.Read(t.Context(), pool)
		for what, err := range map[string]error{
			"read":    read,
			"check":   migrations.Check(t.Context(), pool),
			"up":      migrations.Up(t.Context(), db.URL, quiet),
			"down":    migrations.Down(t.Context(), db.URL, 1, quiet),
			"to zero": migrations.Down(t.Context(), db.URL, 0, quiet),
		} {
			if !errors.Is(err, migrations.ErrEarlier) || !strings.Contains(err.Error(), "worker migrate down --to 0") {
				t.Errorf("version %d, %s: %v", v, what, err)
			}
		}
		same(t, "earlier database", catalog(t, pool), before)
		_, err := pool.Exec(t.Context(), "DROP SCHEMA casq CASCADE")
		must(t, err)
		must(t, migrations.Up(t.Context(), db.URL, quiet))
	}
}

// Who runs an earlier program by mistake gets an error from it, and goes on.
func TestTableOfAnEarlierProgramHarmsNothing(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	_, err := db.Pool(t).Exec(t.Context(), "CREATE TABLE casq.schema_version (version integer NOT NULL)")
	must(t, err)
	must(t, migrations.Check(t.Context(), db.Pool(t)))
	must(t, migrations.Up(t.Context(), db.URL, quiet))
	must(t, migrations.Down(t.Context(), db.URL, 0, quiet))
	must(t, migrations.Up(t.Context(), db.URL, quiet))
}

func TestDownToAVersionThatIsNotThere(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	latest := version(t, db.URL).Latest
	for _, v := range []int32{-1, latest + 1} {
		if err := migrations.Down(t.Context(), db.URL, v, quiet); err == nil || !strings.Contains(err.Error(), "versions are 0 to") {
			t.Errorf("down to %d: %v", v, err)
		}
	}
	must(t, migrations.Down(t.Context(), db.URL, 1, quiet))
	if err := migrations.Down(t.Context(), db.URL, 2, quiet); err == nil || !strings.Contains(err.Error(), "at version 1") {
		t.Errorf("down to what is above: %v", err)
	}
}

// An ordinary role that owns its database cannot make event triggers. It is
// told so, goes without, and a superuser may add them later.
func TestOrdinaryRole(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.Empty(t)
	super := db.Pool(t)
	url := db.RoleURL(t)
	_, err := super.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s OWNER TO %s",
		pgx.Identifier{db.Name}.Sanitize(), pgx.Identifier{testdb.RoleName(t, url)}.Sanitize()))
	must(t, err)
	t.Cleanup(func() {
		// The role goes before the database does.
		conn, err := pgx.Connect(context.Background(), db.URL)
		must(t, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), "ALTER DATABASE "+pgx.Identifier{db.Name}.Sanitize()+" OWNER TO CURRENT_USER")
		must(t, err)
	})
	before := catalog(t, super)

	var out bytes.Buffer
	must(t, migrations.Up(t.Context(), url, slog.New(slog.NewTextHandler(&out, nil))))
	if !strings.Contains(out.String(), "a superuser must run SELECT casq.install_event_trigger()") {
		t.Errorf("the log does not say what is missing:\n%s", out.String())
	}
	role := testdb.Pool(t, url)
	must(t, migrations.Check(t.Context(), role))
	for _, sql := range []string{
		"CREATE TABLE resources (name text PRIMARY KEY)",
		"SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'name')",
		"INSERT INTO resources VALUES ('one')",
		"SELECT casq.untrack('resources')",
		"DROP TABLE resources",
	} {
		_, err := role.Exec(t.Context(), sql)
		must(t, err)
	}
	must(t, migrations.Down(t.Context(), url, 0, quiet))
	same(t, "down to nothing, as an ordinary role", catalog(t, super), before)

	must(t, migrations.Up(t.Context(), url, quiet))
	_, err = super.Exec(t.Context(), "SELECT casq.install_event_trigger()")
	must(t, err)
	err = migrations.Down(t.Context(), url, 0, quiet)
	if err == nil || !strings.Contains(err.Error(), "superuser") {
		t.Errorf("an ordinary role drops a superuser's event triggers: %v", err)
	}
	must(t, migrations.Down(t.Context(), db.URL, 0, quiet))
	same(t, "down to nothing, as superuser", catalog(t, super), before)
}

// Whoever owns the schema can put other functions in the place of casq's, and his
// tables are trusted.
func TestSchemaOfAnotherIsLeftAlone(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	db := testdb.Empty(t)
	super, role := db.Pool(t), testdb.RoleName(t, db.RoleURL(t))
	_, err := super.Exec(t.Context(), "CREATE SCHEMA casq AUTHORIZATION "+role)
	must(t, err)
	t.Cleanup(func() {
		// The role goes before the database does.
		conn, err := pgx.Connect(context.Background(), db.URL)
		must(t, err)
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), "ALTER SCHEMA casq OWNER TO CURRENT_USER")
		must(t, err)
	})
	err = migrations.Up(t.Context(), db.URL, quiet)
	if !errors.Is(err, migrations.ErrOwner) || !strings.Contains(err.Error(), "migrate as "+role) {
		t.Errorf("got %v; want that the schema is another's", err)
	}
	_, err = super.Exec(t.Context(), "ALTER SCHEMA casq OWNER TO CURRENT_USER")
	must(t, err)
	must(t, migrations.Up(t.Context(), db.URL, quiet))
}
