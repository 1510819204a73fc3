package registrytest

import (
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/testdb"
)

// WantKeyUsed fails when one of the statements reads the registry, which is large,
// in another way than by key, with any number of keys, whether the planner knows the
// table or not. All have to read it, but for those that may be planned without.
func (h *Home) WantKeyUsed(t *testing.T, statements map[string]func(n int) (sql string, args []any), without ...string) {
	t.Helper()
	h.Exec(t, "ALTER TABLE casq.registry SET (autovacuum_enabled = false)")
	h.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
		SELECT $1, format('path/to/resource-%s', to_char(n, 'FM0000000')), 1, n, 1, '{"id": 1}' FROM generate_series(1, 200000) AS n`, Kind)
	for _, known := range []string{"not analyzed", "analyzed"} {
		if known == "analyzed" {
			h.Exec(t, "ANALYZE casq.registry")
			h.Exec(t, "ANALYZE casq.processes")
		}
		for name, statement := range statements {
			for n := 1; n <= 256; n *= 2 {
				sql, args := statement(n)
				plan, text := testdb.Explain(t, h.Pool, sql, args...)
				scans := plan.Scans("registry")
				if len(scans) == 0 && !slices.Contains(without, name) {
					t.Errorf("%s does not read the registry: %s", name, text)
				}
				for _, scan := range scans {
					if scan.Type == "Tid Scan" { // of rows that were found by key before
						continue
					}
					if !strings.Contains(scan.Type, "Index") || !strings.Contains(scan.Cond, "resource_id") {
						t.Errorf("%s of %d, %s: %s with %q: %s", name, n, known, scan.Type, scan.Cond, text)
					}
				}
			}
		}
	}
}
