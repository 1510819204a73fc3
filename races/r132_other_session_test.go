package races

import (
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// TestR132OtherSession: the application's session has other settings than the
// worker's, on which the text of times, intervals, floats and bytes depends. Its
// events tell one text, and a comparison that asks the source for the same rows
// would be told another one, and find that everything has changed.
func TestR132OtherSession(t *testing.T) {
	t.Parallel()
	const settings = `SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'iso_8601'; SET datestyle = 'SQL, DMY';
		SET bytea_output = 'escape'; SET extra_float_digits = -5`
	const columns = `at timestamptz DEFAULT '2026-07-01 12:00:00+00', took interval DEFAULT '1 day 02:03:04.5',
		f float8 DEFAULT 0.1::float8 + 0.2, raw bytea DEFAULT '\xff00', during tstzrange DEFAULT tstzrange('2026-07-01 12:00:00+00', NULL)`
	application := func(t *testing.T, url string) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(t.Context()) })
		execute(t, conn, settings)
		return conn
	}
	t.Run("twin/as each session says", func(t *testing.T) {
		t.Parallel()
		db := testdb.New(t)
		pool, conn := db.Pool(t), application(t, db.URL)
		execute(t, pool, `CREATE TABLE naive (key text PRIMARY KEY, `+columns+`); CREATE TABLE told (payload jsonb)`)
		execute(t, conn, `INSERT INTO naive VALUES ('a'); INSERT INTO told SELECT to_jsonb(n) FROM naive AS n`)
		if got := lines(t, pool, `SELECT (told.payload = to_jsonb(n))::text FROM told, naive AS n`); got != "false" {
			t.Errorf("same: %s; want a difference where there is none, for that is what goes wrong", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		db := testdb.New(t)
		r, points := newReconcileSite(t, db.URL, ""), newPoints()
		execute(t, r.source, `SELECT casq.untrack('resources'); DROP TABLE resources; CREATE TABLE resources (key text PRIMARY KEY, `+columns+`);
			SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key',
				payload_columns => ARRAY['at', 'took', 'f', 'raw', 'during'])`)
		r.follow(t, points)
		r.tick(t)
		r.until(t, "the cursor's start", `SELECT (count(*) = 1)::text FROM casq.cursors WHERE tick >= 0`, "true")
		execute(t, application(t, db.URL), `INSERT INTO resources (key) VALUES ('a')`)
		execute(t, r.source, `INSERT INTO resources (key) VALUES ('b')`)
		r.tick(t)
		r.until(t, "the log's reading", reconcileRows, "a pending\nb pending")
		r.reconcile(t, r.source, points)
		r.until(t, "the comparison", reconcileFinished, "finished")
		if got := lines(t, r.home, `SELECT format('looked at %s, created %s, changed %s, removed %s', examined, created, changed, removed)
			FROM casq.reconcile_report WHERE kind = 'resource'`); got != "looked at 4, created 0, changed 0, removed 0" {
			t.Errorf("the comparison says: %s", got)
		}
	})
}
