package reads

import (
	"fmt"
	"strings"
	"testing"

	"casq/replica"
)

// TestR122ReadThatWrites: INSERT ... RETURNING, and a SELECT whose function writes,
// come through the read door. Each runs once, on the primary.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR122ReadThatWrites(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	r.Exec(t, `CREATE FUNCTION note(text) RETURNS text LANGUAGE sql AS $$
		INSERT INTO documents VALUES ($1 || '-' || gen_random_uuid(), 'noted') RETURNING body $$`)
	r.CatchUp(t)
	count := func(t *testing.T, prefix string) (n int) {
		t.Helper()
		must(t, r.Primary.QueryRow(t.Context(), "SELECT count(*) FROM documents WHERE starts_with(id, $1)", prefix).Scan(&n))
		return n
	}
	t.Run("twin/the text tells", func(t *testing.T) {
		text := "SELECT note('twin')"
		if !strings.HasPrefix(text, "SELECT") { // So it is a read.
			t.Fatal(text)
		}
		var answer string
		if err := r.standby[0].QueryRow(t.Context(), text).Scan(&answer); err == nil || count(t, "twin") != 0 {
			t.Errorf("the write was done: %v", err)
		}
	})
	t.Run("ours", func(t *testing.T) {
		db := r.open(t, replica.Options{Wait: -1})
		for name, text := range map[string]string{
			"function": "SELECT note('function')",
			"insert":   "INSERT INTO documents VALUES ('insert-' || gen_random_uuid(), 'noted') RETURNING body",
			"with":     "WITH i AS (INSERT INTO documents VALUES ('with-' || gen_random_uuid(), 'noted') RETURNING body) SELECT * FROM i",
		} {
			for n := range 3 {
				s := db.Session()
				if n == 1 {
					s.Pin() // The primary refuses it through the read door, too.
				}
				var answer string
				// Another text each time: one that was refused is remembered.
				must(t, s.Read().QueryRow(t.Context(), fmt.Sprintf("%s /* %d */", text, n)).Scan(&answer))
				if got := count(t, name); answer != "noted" || got != n+1 {
					t.Errorf("%s ran %d times of %d:\n%s", name, got, n+1, s.Explain())
				}
				// By the write door: the session knows of it.
				choices := s.Choices()
				if got := choices[len(choices)-1]; got.Reason != replica.Refused || s.Token(t.Context()) == "" {
					t.Errorf("%s: chose %s, token %q", name, got, s.Token(t.Context()))
				}
			}
		}
	})
	t.Run("ours/a host that was promoted", func(t *testing.T) {
		db := r.open(t, replica.Options{Wait: -1}, 0)
		s := db.Session()
		body(t, s.Read(), "nothing")
		must(t, r.Cluster.Standbys[0].Promote(t.Context()))
		var answer string
		must(t, s.Read().QueryRow(t.Context(), "SELECT note('promoted')").Scan(&answer))
		if n := count(t, "promoted"); n != 1 {
			t.Errorf("the primary has %d of it", n)
		}
		var there int
		must(t, r.standby[0].QueryRow(t.Context(), "SELECT count(*) FROM documents WHERE starts_with(id, 'promoted')").Scan(&there))
		if there != 0 {
			t.Error("the promoted host has it")
		}
	})
}
