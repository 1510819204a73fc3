package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"casq/eventlog"
	"casq/internal/portion"
	"casq/internal/testing/testdb"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// simple runs statements of a test's own.
func simple(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

const trackResources = `SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', scope_column => 'v', payload_columns => ARRAY['v'])`

// allResources are the keys and payloads of all pages, in their order.
func allResources(t *testing.T, source eventlog.DB, size int) (keys []string, lines []string) {
	t.Helper()
	var after *string
	for {
		p, err := resourcesPage(t.Context(), source, registry.Selection{Kind: kind}, after, portion.Size{Rows: size, Bytes: pageBytes})
		if err != nil || !p.listed || p.tick == 0 {
			t.Fatalf("%+v: %v", p, err)
		}
		if after = p.last; after == nil {
			return keys, lines
		}
		if len(p.keys) > size || len(keys) > 1000 {
			t.Fatalf("a page of %d has %d resources", size, len(p.keys))
		}
		for i, key := range p.keys {
			keys, lines = append(keys, key), append(lines, key+" "+p.payloads[i])
		}
	}
}

// Keys of each type: pages in the column's own order, payloads as events have
// them, and look-ups of keys that are there, that were, and that cannot be.
func TestResourcesOfEachKeyType(t *testing.T) {
	t.Parallel()
	garbage := []string{"", "x", "007", "1 ", "+1", "99999999999999999999", "-9223372036854775809", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
		"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "' OR true --", strings.Repeat("k", 3000)}
	for _, c := range []struct{ name, key, value, suffix string }{
		{"bigint", "bigint PRIMARY KEY", "i - 10", ""},
		{"smallint", "smallint PRIMARY KEY", "i", ""},
		{"uuid", "uuid PRIMARY KEY", "md5(i::text)::uuid", ""},
		{"text", "text PRIMARY KEY", "'k' || i", ""},
		{"text of a language", `text COLLATE "und-x-icu" PRIMARY KEY`, "chr(60 + i) || 'ä' || i", ""},
		{"text without case", "text COLLATE nocase PRIMARY KEY", "'K' || i", ""},
		{"padded text", "char(9) PRIMARY KEY", "'k' || i", ""},
		{"short text", "varchar(9) PRIMARY KEY", "'k' || i", ""},
		{"domain", "small PRIMARY KEY", "i", ""},
		{"partitioned", "bigint PRIMARY KEY", "i", `PARTITION BY HASH (key); CREATE TABLE p0 PARTITION OF resources FOR VALUES WITH (MODULUS 2, REMAINDER 0);
			CREATE TABLE p1 (v int, key bigint PRIMARY KEY); ALTER TABLE resources ATTACH PARTITION p1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t).Pool(t)
			simple(t, pool, `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE DOMAIN small AS int`,
				followPartitions(t, c.suffix),
				`CREATE TABLE resources (key `+c.key+`, v int) `+c.suffix, trackResources,
				`INSERT INTO resources SELECT `+c.value+`, i FROM generate_series(1, 25) AS i`, `SELECT casq.tick(true)`)
			var want []string
			err := pool.QueryRow(t.Context(), `SELECT array_agg(e.resource_id || ' ' || e.payload ORDER BY t.key)
				FROM resources AS t JOIN casq.events AS e ON e.resource_id = t.key::text COLLATE "C"`).Scan(&want)
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{1, 10, 25, 100} {
				if _, got := allResources(t, pool, size); !slices.Equal(got, want) {
					t.Errorf("pages of %d: %q; want %q", size, got, want)
				}
			}
			keys, _ := allResources(t, pool, 100)
			simple(t, pool, `DELETE FROM resources WHERE v % 2 = 0`)
			there, _ := allResources(t, pool, 100)
			asked := slices.Concat(garbage, keys)
			found, err := resourcesOf(t.Context(), pool, registry.Selection{Kind: kind}, asked, pageBytes)
			if err != nil {
				t.Fatal(err)
			}
			gone := slices.DeleteFunc(slices.Clone(asked), func(key string) bool { return slices.Contains(there, key) })
			missing, err := resourcesMissing(t.Context(), pool, registry.Selection{Kind: kind}, asked)
			if err != nil {
				t.Fatal(err)
			}
			for i := range found.payloads {
				if !slices.Contains(want, found.keys[i]+" "+found.payloads[i]) {
					t.Errorf("%s has %s", found.keys[i], found.payloads[i])
				}
			}
			for _, keys := range [][]string{there, gone, found.keys, missing.keys} {
				slices.Sort(keys)
			}
			if !slices.Equal(found.keys, there) || !slices.Equal(missing.keys, gone) {
				t.Errorf("found %q, want %q; missing %q, want %q", found.keys, there, missing.keys, gone)
			}
		})
	}
}

func TestResourcesOfAKindWithoutATable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := resourcesPage(t.Context(), b.Pool, registry.Selection{Kind: kind}, nil, portion.Size{Rows: 10, Bytes: pageBytes}); !errors.Is(err, eventlog.ErrNoTicks) {
		t.Errorf("got %v", err)
	}
	b.Exec(t, "SELECT casq.tick(true)")
	p, err := resourcesPage(t.Context(), b.Pool, registry.Selection{Kind: kind}, nil, portion.Size{Rows: 10, Bytes: pageBytes})
	if err != nil || p.listed || p.last != nil || p.tick == 0 {
		t.Errorf("%+v: %v", p, err)
	}
	if p, err = resourcesOf(t.Context(), b.Pool, registry.Selection{Kind: "unheard of"}, []string{"x"}, pageBytes); err != nil || p.listed {
		t.Errorf("%+v: %v", p, err)
	}
}

// Who follows the log may read what it tells of, and nobody else.
func TestResourcesForARoleWithoutRightsToTheTable(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	super := db.Pool(t)
	url := db.RoleURL(t)
	role := testdb.RoleName(t, url)
	simple(t, super, `CREATE TABLE resources (key text PRIMARY KEY, v int)`, trackResources, `INSERT INTO resources VALUES ('x', 1)`, `SELECT casq.tick(true)`,
		`ALTER TABLE resources ENABLE ROW LEVEL SECURITY`, `GRANT USAGE ON SCHEMA casq TO `+role)
	reader := testdb.Pool(t, url)
	_, err := resourcesPage(t.Context(), reader, registry.Selection{Kind: kind}, nil, portion.Size{Rows: 10, Bytes: pageBytes})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "42501" {
		t.Errorf("got %v", err)
	}
	simple(t, super, `SELECT casq.grant_to('`+role+`', 'follower')`)
	if p, err := resourcesPage(t.Context(), reader, registry.Selection{Kind: kind}, nil, portion.Size{Rows: 10, Bytes: pageBytes}); err != nil || len(p.keys) != 1 {
		t.Errorf("%+v: %v", p, err)
	}
}

// followPartitions is the statement that a table with partitions needs first.
func followPartitions(t *testing.T, table string) string {
	t.Helper()
	if !strings.Contains(table, "PARTITION BY") {
		return "SELECT"
	}
	testdb.NeedsSuperuser(t)
	return "SELECT casq.install_event_trigger()"
}

// A page costs what the page has, whatever ANALYZE knows, and wherever it is.
func TestPagesOfResourcesAreCheap(t *testing.T) {
	t.Parallel()
	for _, analyzed := range []string{"never", "when it was small", "after"} {
		for _, table := range []string{"(key text PRIMARY KEY, v int, filler text)",
			`(key text PRIMARY KEY, v int, filler text) PARTITION BY RANGE (key); CREATE TABLE low PARTITION OF resources FOR VALUES FROM (MINVALUE) TO ('k/010000');
			CREATE TABLE high PARTITION OF resources FOR VALUES FROM ('k/010000') TO (MAXVALUE)`} {
			t.Run(fmt.Sprintf("analyzed %s, partitioned %v", analyzed, strings.Contains(table, "PARTITION")), func(t *testing.T) {
				t.Parallel()
				pool := testdb.New(t).Pool(t)
				fill := `INSERT INTO resources SELECT 'k/' || to_char(i, 'FM000000'), i, repeat('x', 200) FROM generate_series(%d, %d) AS i ORDER BY md5(i::text)`
				simple(t, pool, followPartitions(t, table), `CREATE TABLE resources `+table)
				for _, part := range []string{"resources", "low", "high"} {
					simple(t, pool, `DO $$ BEGIN ALTER TABLE `+part+` SET (autovacuum_enabled = off); EXCEPTION WHEN OTHERS THEN END $$`)
				}
				simple(t, pool, fmt.Sprintf(fill, 0, 9), `ANALYZE resources`)
				if analyzed == "never" {
					testdb.NeedsSuperuser(t)
					simple(t, pool, `DELETE FROM pg_statistic WHERE starelid = 'resources'::regclass`)
				}
				simple(t, pool, fmt.Sprintf(fill, 10, 20_000))
				if analyzed == "after" {
					simple(t, pool, `ANALYZE resources`)
				}
				simple(t, pool, trackResources, `SELECT casq.tick(true)`)
				var keys []string
				for i := range 20 {
					keys = append(keys, fmt.Sprintf("k/%06d", i*900))
				}
				after := "k/012000"
				// Before it reads a table, each asks the catalogs whose code that could
				// run, which costs the same however large the table is.
				trust := "SELECT casq.check_trusted('resources')"
				if _, err := pool.Exec(t.Context(), trust); err != nil {
					t.Fatal(err)
				}
				asked := testdb.Buffers(t, pool, trust)
				if asked > 1000 {
					t.Errorf("asking who is trusted touched %d buffers", asked)
				}
				for what, c := range map[string]struct {
					sql  string
					args []any
				}{
					"the first page":    {refetchSQL.Resources, []any{kind, nil, 20, nil, pageBytes}},
					"a later page":      {refetchSQL.Resources, []any{kind, &after, 20, nil, pageBytes}},
					"some resources":    {refetchSQL.Of, []any{kind, keys, nil, pageBytes}},
					"missing resources": {refetchSQL.Missing, []any{kind, keys, nil}},

					"a page of a scope":           {refetchSQL.Resources, []any{kind, &after, 20, []string{"12"}, pageBytes}},
					"resources of a scope":        {refetchSQL.Of, []any{kind, keys, []string{"900"}, pageBytes}},
					"resources not in that scope": {refetchSQL.Missing, []any{kind, keys, []string{"900"}}},
				} {
					// Once for the catalogs. Twenty rows in random order have twenty
					// buffers, and two levels of an index each; the table has 690.
					if _, err := pool.Exec(t.Context(), c.sql, c.args...); err != nil {
						t.Fatal(err)
					}
					if n := testdb.Buffers(t, pool, c.sql, c.args...) - asked; n > 200 {
						t.Errorf("%s touched %d buffers beside %d of the catalogs", what, n, asked)
					}
				}
			})
		}
	}
}
