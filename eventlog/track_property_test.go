package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// hostile goes on with a row as the row's own column hits says, after each
// change, two triggers deep.
const hostile = `CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	key text := CASE TG_OP WHEN 'DELETE' THEN OLD.path ELSE NEW.path END;
	what int := CASE TG_OP WHEN 'DELETE' THEN OLD.hits ELSE NEW.hits END;
BEGIN
	IF pg_trigger_depth() > 2 OR current_setting('test.calm', true) = 'on' THEN
		RETURN NULL;
	END IF;
	CASE what
		WHEN 1 THEN UPDATE artifacts SET size = coalesce(size, 0) + 7, sha = sha || 'm' WHERE path = key;
		WHEN 2 THEN UPDATE artifacts SET project_id = coalesce(project_id, 0) + 1, hits = 0 WHERE path = key;
		WHEN 3 THEN DELETE FROM artifacts WHERE path = key;
		WHEN 4 THEN INSERT INTO artifacts VALUES (CASE TG_OP WHEN 'UPDATE' THEN OLD.path ELSE key END, 3, 5, 'again', 1) ON CONFLICT DO NOTHING;
		WHEN 5 THEN UPDATE artifacts SET path = chr(219 - ascii(path)), hits = 1 WHERE path = key;
		WHEN 6 THEN UPDATE artifacts SET size = size + 1 WHERE path <> key;
		ELSE NULL;
	END CASE;
	RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT OR UPDATE OR DELETE ON artifacts FOR EACH ROW EXECUTE FUNCTION meddle()`

var (
	keyGen = rapid.SampledFrom([]string{"'a'", "'b'", "'c'", "'y'", "'z'"})
	setGen = rapid.SampledFrom([]string{
		"size = size + 3", "size = NULL", "size = 4", "sha = sha || 'n'", "sha = NULL", "project_id = 2", "project_id = NULL",
		"project_id = project_id + 1, size = 9", "hits = 0", "hits = hits + 1", "path = chr(219 - ascii(path))", "path = path",
	})
	valueGen = rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("(%s, %s, %d, 's', %d)", keyGen.Draw(t, "key"),
			rapid.SampledFrom([]string{"1", "2", "NULL::bigint"}).Draw(t, "scope"), rapid.IntRange(0, 3).Draw(t, "size"), rapid.IntRange(0, 6).Draw(t, "hits"))
	})
	whereGen = rapid.OneOf(rapid.Just("true"), rapid.Custom(func(t *rapid.T) string {
		return "artifacts.path IN (" + strings.Join(rapid.SliceOfN(keyGen, 1, 3).Draw(t, "keys"), ", ") + ")"
	}))
	valuesGen = rapid.Custom(func(t *rapid.T) string {
		return "VALUES " + strings.Join(rapid.SliceOfNDistinct(valueGen, 1, 4, func(v string) string { return v[:3] }).Draw(t, "rows"), ", ")
	})
)

// statementGen draws one statement; every way to change a table is there.
var statementGen = rapid.Custom(func(t *rapid.T) string {
	where, set, values := whereGen.Draw(t, "where"), setGen.Draw(t, "set"), valuesGen.Draw(t, "values")
	switch rapid.IntRange(0, 6).Draw(t, "statement") {
	case 0:
		return "INSERT INTO artifacts " + values + " ON CONFLICT DO NOTHING"
	case 1:
		return "INSERT INTO artifacts " + values + " ON CONFLICT (path) DO UPDATE SET size = excluded.size, hits = excluded.hits, project_id = excluded.project_id"
	case 2, 3:
		return "UPDATE artifacts SET " + set + " WHERE " + where
	case 4:
		return "DELETE FROM artifacts WHERE " + where
	case 5:
		return "MERGE INTO artifacts USING (" + values + `) AS v (path, project_id, size, sha, hits) ON artifacts.path = v.path
			WHEN MATCHED AND v.size = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET size = v.size, sha = 'merged'
			WHEN NOT MATCHED THEN INSERT VALUES (v.path, v.project_id, v.size, v.sha, v.hits)`
	default:
		return "WITH gone AS (DELETE FROM artifacts WHERE " + where + " RETURNING *), grown AS (UPDATE artifacts SET size = size + 1 WHERE NOT " + where +
			") INSERT INTO artifacts SELECT path, 3, size, 'moved', hits FROM gone ON CONFLICT DO NOTHING"
	}
})

// transactionGen draws up to three statements that are committed together.
var transactionGen = rapid.Custom(func(t *rapid.T) string {
	level := rapid.SampledFrom([]string{"READ COMMITTED", "REPEATABLE READ"}).Draw(t, "level")
	return "SET TRANSACTION ISOLATION LEVEL " + level + "; " + strings.Join(rapid.SliceOfN(statementGen, 1, 3).Draw(t, "statements"), ";\n\t")
})

// TestTrackIsExact: whatever is done to a table, by whatever triggers besides,
// the deltas add up to what is there, and the newest event of each key is true.
func TestTrackIsExact(t *testing.T) {
	t.Parallel()
	for _, layout := range []struct{ name, table, track string }{
		{"plain", plainTable, trackArtifacts},
		{"partitioned, with ids", "CREATE SEQUENCE ids; " + strings.Replace(identifiedPartitions, "id bigint NOT NULL,", "id bigint NOT NULL DEFAULT nextval('ids'),", 1), trackIdentified},
	} {
		t.Run(layout.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, layout.table, layout.track, hostile)
			rapid.Check(t, func(t *rapid.T) {
				b.do(t, `SET LOCAL test.calm = on; DELETE FROM artifacts; DELETE FROM casq.events`)
				for _, transaction := range rapid.SliceOfN(transactionGen, 1, 12).Draw(t, "transactions") {
					b.do(t, transaction)
				}
				b.wantExact(t)
			})
		})
	}
}

// do executes a transaction, which may fail only as any program's may.
func (b *trackBundle) do(t *rapid.T, sql string) {
	t.Helper()
	ctx := context.Background()
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error { return run(ctx, tx, sql) })
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case "23505", // the key is there already
			"21000", // MERGE or ON CONFLICT met a row twice
			"27000": // a trigger changed the row that is being changed
			return
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
