package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// What the log has never told: rows of before the table was tracked, one of them
// in place already; a row that went while it was not; and staging of no claim.
func TestWorkerReconciles(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.put(t, "known", "known")
	b.put(t, "gone", "gone")
	for _, key := range []string{"known", "gone"} {
		b.until(t, key, func() bool { return b.status(t, key) == "synced" })
	}
	b.exec(t, `SELECT casq.untrack('public.artifacts')`)
	b.exec(t, `DELETE FROM artifacts WHERE path = 'gone'`)
	b.put(t, "new", "new")
	b.put(t, "in place", "in place")
	b.exec(t, `SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', prefix => '', key_column => 'path',
		scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256'])`)
	left := filepath.Join(b.target, ".casq", "ab", strings.Repeat("ab", 32)+"."+uuid.NewString())
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.target, "in place"), []byte("in place"), 0o644); err != nil {
		t.Fatal(err)
	}

	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := registry.Ask(t.Context(), tx, registry.Request{Reason: registry.Asked})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.until(t, "new", func() bool {
		return b.inPlace("new", "new") && b.status(t, "new") == "synced" && b.status(t, "in place") == "synced" && b.status(t, "gone") == "removed"
	})
	var report string
	b.until(t, "known", func() bool {
		err := b.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(state || ' ' || concat_ws(' ', kind, created, adopted, changed, removed, staging_removed), ', ' ORDER BY kind), '')
			FROM casq.reconcile_report WHERE reason = 'asked'`).Scan(&report)
		if err != nil {
			t.Fatal(err)
		}
		return strings.HasPrefix(report, "finished")
	})
	if want := "finished  0 0 0 0 1, finished artifact 1 1 0 1 0"; report != want {
		t.Errorf("got %q, want %q", report, want)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("the staging of no claim: %v", err)
	}
	// Said after the commit that the report was read from.
	b.until(t, "known", func() bool { return b.log.has("reconcile finished") })
}
