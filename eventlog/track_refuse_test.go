package eventlog_test

import (
	"testing"
)

const plain = `CREATE TABLE t (k text PRIMARY KEY, n int, s bigint, j json, f float, ts timestamptz UNIQUE NOT NULL)`

func call(options string) string {
	return `SELECT casq.track('t', kind => 'resource', transfer => 'none', key_column => 'k'` + options + `)`
}

// Each is refused with a message that helps, and leaves nothing behind.
func TestTrackRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, given, call string
		told              []string
	}{
		{"view", `CREATE VIEW t AS SELECT 'x'::text AS k`, call(""), []string{"public.t is not an ordinary or partitioned table", "the table behind it"}},
		{"materialized view", `CREATE MATERIALIZED VIEW t AS SELECT 'x'::text AS k`, call(""), []string{"not an ordinary"}},
		{"foreign table", `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE t (k text NOT NULL) SERVER s`,
			call(""), []string{"not an ordinary"}},
		{"foreign partition", `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
			CREATE TABLE t (k text NOT NULL) PARTITION BY LIST (k); CREATE FOREIGN TABLE p PARTITION OF t DEFAULT SERVER s`,
			call(""), []string{"partition public.p is a foreign table"}},
		{"temporary table", `SELECT 1`, `CREATE TEMPORARY TABLE t (k text PRIMARY KEY); ` + call(""), []string{"temporary or unlogged"}},
		{"unlogged table", `CREATE UNLOGGED TABLE t (k text PRIMARY KEY)`, call(""), []string{"unlogged", "SET LOGGED"}},
		{"partition", `CREATE TABLE whole (k text PRIMARY KEY) PARTITION BY LIST (k); CREATE TABLE t PARTITION OF whole DEFAULT`,
			call(""), []string{"is a partition", "Track the whole table: public.whole"}},
		{"inherited from", `CREATE TABLE t (k text PRIMARY KEY); CREATE TABLE child () INHERITS (t)`, call(""), []string{"inheritance", "NO INHERIT"}},
		{"inherits", `CREATE TABLE parent (k text PRIMARY KEY); CREATE TABLE t (PRIMARY KEY (k)) INHERITS (parent)`, call(""), []string{"inheritance"}},
		{"system table", plain, `SELECT casq.track('pg_class', kind => 'resource', transfer => 'none', key_column => 'relname')`, []string{"belongs to the system"}},
		{"own table", plain, `SELECT casq.track('casq.events', kind => 'resource', transfer => 'none', key_column => 'id')`, []string{"belongs to the system"}},
		{"no key column", plain, `SELECT casq.track('t', kind => 'resource', transfer => 'none', key_column => NULL)`, []string{"needs a key_column"}},
		{"unknown key column", plain, `SELECT casq.track('t', kind => 'resource', transfer => 'none', key_column => 'K')`, []string{`no column "K"`, "kind resource"}},
		{"unknown scope column", plain, call(`, scope_column => 'x'`), []string{"no column x"}},
		{"unknown size column", plain, call(`, size_column => 'x'`), []string{"no column x"}},
		{"unknown payload column", plain, call(`, payload_columns => ARRAY['n', 'x']`), []string{"no column x"}},
		{"system column", plain, call(`, payload_columns => ARRAY['xmin']`), []string{"no column xmin"}},
		{"size of fractions", plain, call(`, size_column => 'f'`), []string{"size column f", "double precision", "integer type or numeric(n, 0)"}},
		{"size of any numeric", `CREATE TABLE t (k text PRIMARY KEY, s numeric)`, call(`, size_column => 's'`), []string{"size column s", "numeric"}},
		{"size of decimals", `CREATE TABLE t (k text PRIMARY KEY, s numeric(10, 2))`, call(`, size_column => 's'`), []string{"numeric(10,2)"}},
		{"key whose text changes", plain, `SELECT casq.track('t', kind => 'resource', transfer => 'none', key_column => 'ts')`,
			[]string{"column ts", "timestamp with time zone", "not the same everywhere", "generated text column"}},
		{"scope whose text changes", plain, call(`, scope_column => 'f'`), []string{"column f", "not the same everywhere"}},
		{"key may be null", `CREATE TABLE t (k text UNIQUE)`, call(""), []string{"key column k", "may be NULL", "SET NOT NULL"}},
		{"key not unique", `CREATE TABLE t (k text NOT NULL)`, call(""), []string{"not kept unique", "Only where", "ADD UNIQUE (k)", "would break it", "casq.track_view"}},
		{"key unique with another", `CREATE TABLE t (k text, n int, PRIMARY KEY (k, n))`, call(""), []string{"not kept unique", "no other column"}},
		{"key partly unique", `CREATE TABLE t (k text NOT NULL, n int); CREATE UNIQUE INDEX ON t (k) WHERE n > 0`, call(""), []string{"not kept unique", "no condition"}},
		{"key unique by expression", `CREATE TABLE t (k text NOT NULL); CREATE UNIQUE INDEX ON t (lower(k))`, call(""), []string{"not kept unique"}},
		{"key unique later", `CREATE TABLE t (k text NOT NULL UNIQUE DEFERRABLE)`, call(""), []string{"not kept unique", "not deferrable"}},
		{"key unique within partitions", `CREATE TABLE t (k text, d date, PRIMARY KEY (k, d)) PARTITION BY RANGE (d)`, call(""),
			[]string{"not kept unique", "partition by the key"}},
		{"id that is the key", plain, call(`, id_column => 'k'`), []string{"column k", "is the key", "stays the same"}},
		{"id may be null", `CREATE TABLE t (k text PRIMARY KEY, i int UNIQUE)`, call(`, id_column => 'i'`), []string{"id column i", "may be NULL", "SET NOT NULL"}},
		{"id not unique", `CREATE TABLE t (k text PRIMARY KEY, i int NOT NULL)`, call(`, id_column => 'i'`), []string{"id column i", "not kept unique", "ADD UNIQUE (i)"}},
		{"id unique with another", `CREATE TABLE t (k text PRIMARY KEY, i int NOT NULL, UNIQUE (i, k))`, call(`, id_column => 'i'`), []string{"not kept unique"}},
		{"id not unique within partitions", `CREATE TABLE t (k text PRIMARY KEY, i int NOT NULL) PARTITION BY LIST (k)`, call(`, id_column => 'i'`),
			[]string{"not kept unique", "ADD UNIQUE (i, and the partition key)"}},
		{"id whose text changes", plain, call(`, id_column => 'ts'`), []string{"column ts", "not the same everywhere"}},
		{"unknown id column", plain, call(`, id_column => 'x'`), []string{"no column x"}},
		{"tracked with another id", `CREATE TABLE t (k text PRIMARY KEY, i int NOT NULL UNIQUE); ` + call(""), call(`, id_column => 'i'`), []string{"tracked otherwise"}},
		{"unknown transfer", plain, `SELECT casq.track('t', kind => 'resource', transfer => 'ftp', key_column => 'k')`, []string{"unknown transfer 'ftp'", "file, git, none"}},
		{"bad kind", plain, `SELECT casq.track('t', kind => 'No-Name', transfer => 'none', key_column => 'k')`, []string{"'No-Name' is no name", "lower case"}},
		{"River's queue", plain, `SELECT casq.track('t', kind => 'default', transfer => 'none', key_column => 'k')`, []string{"queue 'default' is taken", "queue => "}},
		{"a queue of casq's", plain, call(`, queue => 'casq_flush'`), []string{"queue 'casq_flush' is taken"}},
		{"old snapshot", plain, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; ` + call(""), []string{"READ COMMITTED"}},
		{"queue of another transfer", plain, `SELECT casq.define_kind('other', 'git', queue => 'resource');
			SELECT casq.track('t', kind => 'resource', transfer => 'file', key_column => 'k')`, []string{"queue 'resource'", "'other' with transfer git", "name another queue"}},
		{"kind of another table", plain + `; CREATE TABLE u (k text PRIMARY KEY);
			SELECT casq.track('u', kind => 'resource', transfer => 'none', key_column => 'k')`, call(""), []string{"kind 'resource' is that of table public.u", "untrack('public.u')"}},
		{"tracked otherwise", plain + "; " + call(""), call(`, payload_columns => ARRAY['n']`), []string{"tracked otherwise", "untrack('public.t')"}},
		{"defined otherwise", plain + "; " + call(""), call(`, queue => 'slow'`), []string{"defined otherwise: its queue is 'resource', not 'slow'", "repeat it so"}},
		{"not tracked", plain, `SELECT casq.untrack('t')`, []string{"public.t is not tracked", "No table is tracked"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, c.given)
			before := b.objects(t)
			wantRefused(t, run(t.Context(), b.pool, c.call), c.told...)
			if after := b.objects(t); after != before {
				t.Errorf("left behind: %s\nbefore: %s", after, before)
			}
		})
	}
}

// objects names everything that track makes.
func (b *trackBundle) objects(t *testing.T) string {
	t.Helper()
	var all string
	err := b.pool.QueryRow(t.Context(), `SELECT jsonb_build_object(
		'kinds', (SELECT jsonb_agg(k) FROM casq.kinds AS k),
		'tracked', (SELECT jsonb_agg(k) FROM casq.tracked AS k),
		'functions', (SELECT jsonb_agg(proname) FROM pg_proc WHERE proname LIKE 'log\_%' AND prorettype = 'trigger'::regtype),
		'triggers', (SELECT jsonb_agg(tgname ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal))::text`).Scan(&all)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTrackTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plain, call(`, payload_columns => ARRAY['n', 's', 'n']`))
	before := b.objects(t)
	b.exec(t, `INSERT INTO t (k, ts) VALUES ('a', now()); `+call(`, payload_columns => ARRAY['s', 'n']`))
	if after := b.objects(t); after != before {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
}

func TestTrackCountsWhatIsThere(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plain, `INSERT INTO t (k, ts) SELECT i, now() + i * interval '1 s' FROM generate_series(1, 7) AS i`)
	var rows int
	if err := b.pool.QueryRow(t.Context(), call("")).Scan(&rows); err != nil || rows != 7 {
		t.Fatalf("%d rows, %v; want 7", rows, err)
	}
	b.wantEvents(t)
}

func TestUntrackKeepsKindAndEvents(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plain, call(""), `INSERT INTO t (k, ts) VALUES ('a', now())`,
		`SELECT casq.untrack('t'); UPDATE t SET k = 'b'; TRUNCATE t`)
	b.wantEvents(t, `created a - +0 +1 {}`)
	var left int
	err := b.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'casq%' AND tgrelid = 't'::regclass`).Scan(&left)
	if err != nil || left != 0 {
		t.Fatalf("%d triggers left, %v", left, err)
	}
	// Another shape of the same kind may follow.
	b.exec(t, call(`, payload_columns => ARRAY['n']`)+`; INSERT INTO t (k, n, ts) VALUES ('c', 3, now())`)
	b.wantEvents(t, `created c - +0 +1 {"n": 3}`)
}

// A row of a transaction that was open when track began has no event, so it
// counts as being there.
func TestTrackCountsRowsOfOpenTransactions(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plain)
	writer, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Rollback(t.Context())
	if err := run(t.Context(), writer, `INSERT INTO t (k, ts) VALUES ('a', now())`); err != nil {
		t.Fatal(err)
	}
	var rows int
	tracked := make(chan error, 1)
	go func() { tracked <- b.pool.QueryRow(t.Context(), call("")).Scan(&rows) }()
	b.until(t, waiting)
	if err := writer.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, tracked); err != nil || rows != 1 {
		t.Fatalf("%d rows, %v; want 1", rows, err)
	}
	b.wantEvents(t)
}
