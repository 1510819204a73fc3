package replica

import "testing"

func TestWritesAreKnownByTheirFirstWord(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"INSERT INTO t VALUES (1) RETURNING id":         true,
		"\n\t update t SET a = 1":                       true,
		"-- name: Add :one\n-- more\nDelete FROM t":     true,
		"MERGE INTO t USING u ON a = b WHEN MATCHED":    true,
		"SELECT 'INSERT INTO t'":                        false,
		"WITH a AS (INSERT INTO t VALUES (1)) SELECT 1": false,
		"INSERTED":  false,
		"":          false,
		"-- INSERT": false,
		"SELECT id FROM t WHERE a = 'x' FOR UPDATE": false,
		"updates":          false,
		"VALUES (1)":       false,
		"DELETE/**/FROM t": true,
	} {
		if got := writes(sql); got != want {
			t.Errorf("%q begins as a write: %t, want %t", sql, got, want)
		}
	}
}
