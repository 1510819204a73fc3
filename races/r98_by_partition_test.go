package races

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	r98Table = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint) PARTITION BY RANGE (path);
		CREATE TABLE low PARTITION OF artifacts FOR VALUES FROM ('a') TO ('m') PARTITION BY LIST (path);
		CREATE TABLE low_rest PARTITION OF low DEFAULT;
		CREATE TABLE high PARTITION OF artifacts FOR VALUES FROM ('m') TO ('zz');
		CREATE TABLE digits (path text PRIMARY KEY, project_id bigint, size bigint)`
	r98Track = `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
		scope_column => 'project_id', size_column => 'size')`
	r98WithoutEventTriggers = `DROP EVENT TRIGGER casq_ddl; DROP EVENT TRIGGER casq_drop; DROP EVENT TRIGGER casq_rewrite`
	r98Log                  = `SELECT format('%s %s %s %s', op, resource_id, size_delta, item_delta) FROM casq.events ORDER BY id`
	// What the deltas say is there, less what is there: nothing when all is well.
	r98Drift = `SELECT format('%s bytes, %s items', (SELECT coalesce(sum(size_delta), 0) FROM casq.events) - (SELECT coalesce(sum(size), 0) FROM artifacts),
		(SELECT coalesce(sum(item_delta), 0) FROM casq.events) - (SELECT count(*) FROM artifacts))`
)

// r98Steps never name the tracked table itself but to attach and detach. want
// is what is logged, refused what the error tells when the step is refused.
var r98Steps = []struct {
	name, sql, want, refused string
}{
	{name: "insert", sql: `INSERT INTO low_rest VALUES ('b', 1, 5); INSERT INTO high VALUES ('x', 1, 7)`, want: "created b 5 1\ncreated x 7 1"},
	{name: "update", sql: `UPDATE low SET size = 6`, want: "updated b 1 0"},
	{name: "delete", sql: `DELETE FROM low_rest`, want: "deleted b -6 -1"},
	{name: "truncate", sql: `TRUNCATE high`, refused: "casq: public.high is tracked, TRUNCATE would remove its rows without an event"},
	{name: "truncate the middle", sql: `TRUNCATE low`, refused: "casq: public.low is tracked"},
	{name: "attach", sql: `INSERT INTO digits VALUES ('1', 2, 9); ALTER TABLE artifacts ATTACH PARTITION digits FOR VALUES FROM ('0') TO ('a')`, want: "created 1 9 1"},
	{name: "write what was attached", sql: `UPDATE digits SET size = 10`, want: "updated 1 1 0"},
	{name: "new", sql: `CREATE TABLE low_c PARTITION OF low FOR VALUES IN ('c'); INSERT INTO low_c VALUES ('c', 3, 3)`, want: "created c 3 1"},
	{name: "detach", sql: `ALTER TABLE artifacts DETACH PARTITION high`, want: "deleted x -7 -1"},
	{name: "write what was detached", sql: `UPDATE high SET size = 8; TRUNCATE high`},
	{name: "drop", sql: `DROP TABLE low_c`, refused: "casq: public.low_c is tracked as kind artifact"},
}

// TestR98ByPartition: partitions of a tracked table are written by their names.
// Postgres fires the statement triggers of the table that a statement names, and
// of no other: what goes into a partition by its name is unknown to the table
// above, and so is what is truncated there, or comes and goes with a whole
// partition. An event for each, or a clear refusal.
func TestR98ByPartition(t *testing.T) {
	t.Parallel()
	t.Run("twin/triggers on the parent only", func(t *testing.T) {
		t.Parallel()
		pool := database(t, r98Table, r98Track, r98WithoutEventTriggers, `DO $$ DECLARE g record; BEGIN
			FOR g IN SELECT tgname, tgrelid::regclass AS place FROM pg_trigger WHERE tgname LIKE 'casq%' AND tgrelid <> 'artifacts'::regclass LOOP
				EXECUTE format('DROP TRIGGER %I ON %s', g.tgname, g.place);
			END LOOP; END $$`)
		for _, step := range r98Steps {
			r98Unnoticed(t, pool, step.name, step.sql)
		}
	})
	t.Run("twin/triggers on the partitions of the day", func(t *testing.T) {
		t.Parallel()
		pool := database(t, r98Table, r98Track, r98WithoutEventTriggers)
		for _, step := range r98Steps {
			switch step.name {
			case "insert":
				execute(t, pool, step.sql)
			case "attach", "write what was attached", "new", "detach", "drop":
				r98Unnoticed(t, pool, step.name, step.sql)
			}
		}
		if got := lines(t, pool, r98Drift); got == "0 bytes, 0 items" {
			t.Error("the deltas are right; the twin should have gone wrong")
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		pool := database(t, r98Table, r98Track)
		logged := ""
		for _, step := range r98Steps {
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), step.sql, pgx.QueryExecModeSimpleProtocol)
				return err
			})
			if refused := err != nil; refused != (step.refused != "") || refused && !strings.Contains(err.Error(), step.refused) {
				t.Fatalf("%s: %v; want it refused with %q", step.name, err, step.refused)
			}
			logged = strings.TrimPrefix(logged+"\n"+step.want, "\n")
			logged = strings.TrimSuffix(logged, "\n")
			if got := lines(t, pool, r98Log); got != logged {
				t.Fatalf("%s: log\n%s\nwant\n%s", step.name, got, logged)
			}
			if got := lines(t, pool, r98Drift); got != "0 bytes, 0 items" {
				t.Fatalf("%s: the log counts %s too much", step.name, got)
			}
		}
	})
}

// r98Unnoticed makes a step of which the twin's log must not know.
func r98Unnoticed(t *testing.T, pool *pgxpool.Pool, name, sql string) {
	t.Helper()
	before := lines(t, pool, r98Log)
	execute(t, pool, sql)
	if after := lines(t, pool, r98Log); after != before {
		t.Errorf("%s was logged as %s; the twin should have missed it", name, strings.TrimPrefix(after, before))
	}
}
