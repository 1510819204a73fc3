package races

import (
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR133OneBadKind: one kind of several cannot be compared: its table was
// dropped where no event trigger could refuse it; its scope column is gone, by
// which the site has selected; a row of one of its pages is refused at home. Who
// ends there, and tries again later, does so for ever: kinds that come behind are
// never compared, and while that run is under way no other one comes. All others
// have to be compared, the bad one to be named, the next run to come, and the bad
// one to be compared once it is mended.
func TestR133OneBadKind(t *testing.T) {
	t.Parallel()
	t.Run("twin/tries the run again", func(t *testing.T) {
		t.Parallel()
		r := newR133(t, r133Dropped)
		compared := ""
		for range 20 {
			compared, _ = r.naively(t)
		}
		if compared != "" {
			t.Errorf("the twin has compared %s; want the bad kind to keep the other from it", compared)
		}
	})
	t.Run("twin/leaves the bad kind out", func(t *testing.T) {
		t.Parallel()
		r := newR133(t, r133Refused)
		_, left := r.naively(t)
		execute(t, r.source, r133Refused.mend)
		// The run is over, and has seen to the others.
		if got := lines(t, r.home, r133Compared); left != "bad" || strings.Contains(got, "bad") {
			t.Errorf("the twin has left out %q and has %q; want the bad kind to be forgotten", left, got)
		}
	})
	for _, fault := range []r133Fault{r133Dropped, r133Scope, r133Refused} {
		t.Run("ours/"+fault.name, func(t *testing.T) {
			t.Parallel()
			r := newR133(t, fault)
			r.reconcile(t, r.source, newPoints())
			r.until(t, "the run", `SELECT state FROM casq.reconcile_report WHERE run = 1 LIMIT 1`, "finished")
			if got := lines(t, r.home, r133Compared); got != "good\nresource" {
				t.Errorf("compared are %q", got)
			}
			named := lines(t, r.home, `SELECT kind || ' ' || waiting FROM casq.reconcile_runs WHERE finished_at IS NULL`)
			if !strings.HasPrefix(named, "bad ") || !strings.Contains(named, fault.said) {
				t.Errorf("left is %q, want it to say %q", named, fault.said)
			}
			// The next one comes, and meets the same.
			execute(t, r.home, `INSERT INTO casq.reconcile_runs (reason) VALUES ('scheduled')`)
			r.until(t, "the next run", `SELECT (finished_at IS NOT NULL)::text FROM casq.reconcile_runs WHERE reason = 'scheduled' AND kind IS NULL`, "true")
			execute(t, r.source, fault.mend)
			execute(t, r.home, `UPDATE casq.reconcile_runs SET not_before = NULL`)
			r.until(t, "the end of all", `SELECT count(*)::text FROM casq.reconcile_runs WHERE finished_at IS NULL`, "0")
			if got := lines(t, r.home, r133Compared); got != "bad\ngood\nresource" {
				t.Errorf("in the end compared are %q", got)
			}
		})
	}
}

// r133Compared are the kinds whose resource has its row.
const r133Compared = `SELECT kind FROM casq.registry ORDER BY kind`

const r133Track = `SELECT casq.track('bad', kind => 'bad', transfer => 'none', key_column => 'key', scope_column => 'scope');`

type r133Fault struct{ name, do, said, mend string }

var (
	r133Dropped = r133Fault{
		"dropped table", `DROP TABLE bad`, `the table of kind bad is gone`,
		`SELECT casq.untrack(kind => 'bad'); CREATE TABLE bad (key text PRIMARY KEY, scope text); INSERT INTO bad VALUES ('x', 'a'); ` + r133Track,
	}
	r133Scope = r133Fault{
		"scope column", `INSERT INTO casq.selections (kind, scopes) VALUES ('bad', ARRAY['a']); ALTER TABLE bad DROP COLUMN scope`, `has no column scope`,
		`SELECT casq.untrack('bad'); ALTER TABLE bad ADD scope text DEFAULT 'a'; ` + r133Track,
	}
	r133Refused = r133Fault{
		"page that fails", `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused here''; END';
			CREATE TRIGGER refuse BEFORE INSERT ON casq.registry FOR EACH ROW WHEN (NEW.kind = 'bad') EXECUTE FUNCTION refuse()`, `refused here`,
		`DROP TRIGGER refuse ON casq.registry`,
	}
)

type r133 struct{ *reconcileSite }

// newR133 has three kinds with a resource each that has no row.
func newR133(t *testing.T, fault r133Fault) *r133 {
	t.Helper()
	r := &r133{newReconcileSite(t, testdb.New(t).URL, "")}
	execute(t, r.source, `DROP EVENT TRIGGER casq_ddl; DROP EVENT TRIGGER casq_drop; SELECT casq.untrack('resources');
		CREATE TABLE bad (key text PRIMARY KEY, scope text); CREATE TABLE good (key text PRIMARY KEY);
		INSERT INTO resources VALUES ('x'); INSERT INTO bad VALUES ('x', 'a'); INSERT INTO good VALUES ('x');
		SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key');
		SELECT casq.track('good', kind => 'good', transfer => 'none', key_column => 'key');`+r133Track)
	r.tick(t)
	r.follow(t, newPoints())
	r.until(t, "the cursor's start", `SELECT count(*)::text FROM casq.cursors`, "1")
	execute(t, r.source, fault.do)
	return r
}

// naively compares kind by kind in one run, whose transactions are the pages, and
// returns which kinds it has compared, and the one at which it stopped.
func (r *r133) naively(t *testing.T) (compared, stopped string) {
	t.Helper()
	for _, kind := range []string{"bad", "good", "resource"} {
		err := pgx.BeginFunc(t.Context(), r.home, func(tx pgx.Tx) error { return r133Page(t, r.source, tx, kind) })
		if err != nil {
			return strings.TrimSpace(compared), kind
		}
		compared += kind + " "
	}
	return strings.TrimSpace(compared), ""
}

func r133Page(t *testing.T, source *pgxpool.Pool, tx pgx.Tx, kind string) error {
	t.Helper()
	var keys []string
	if err := source.QueryRow(t.Context(), `SELECT keys FROM casq.resources($1, NULL, 100, NULL)`, kind).Scan(&keys); err != nil {
		return err
	}
	_, err := tx.Exec(t.Context(), `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
		SELECT $1, key, 1, 0, 1, '{}' FROM unnest($2::text[]) AS key ON CONFLICT DO NOTHING`, kind, keys)
	return err
}
