package reads

import (
	"testing"

	"casq/replica"
)

// TestR59ForeignToken: a token is of another cluster, of a forged future, no token at
// all, or unresolved since the commit's answer was lost. The request that brings it is
// for the primary; the next one, with that one's token, returns to the standbys.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR59ForeignToken(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	db := r.open(t, replica.Options{Wait: -1})
	r.naiveWrite(t, "a", "old")
	s := db.Session()
	must(t, s.Wrote(t.Context()))
	good, err := replica.ParseToken(s.Token(t.Context()))
	must(t, err)
	tokens := map[string]string{
		"another cluster": replica.Position{Timeline: good.Timeline + 1<<30, LSN: 1}.Token(),
		"a sister":        replica.Position{Timeline: good.Timeline - 1, LSN: good.LSN}.Token(),
		"a future":        replica.Position{Timeline: good.Timeline, LSN: good.LSN + 1<<40}.Token(),
		"unresolved":      "v1.unresolved",
		"garbage":         "v1.\x00'; DROP TABLE documents; --",
		"of any length":   string(make([]byte, 1<<20)),
	}
	r.CatchUp(t)
	r.Pause(t)
	r.naiveWrite(t, "a", "new")

	t.Run("twin/what cannot be read is nothing", func(t *testing.T) {
		if _, err := replica.ParseToken(tokens["unresolved"]); err == nil {
			t.Fatal("the token can be read")
		}
		if got := body(t, r.standby[0], "a"); got != "old" {
			t.Errorf("the standby shows %q", got)
		}
	})
	t.Run("twin/LSNs are compared", func(t *testing.T) {
		for _, name := range []string{"another cluster", "a sister"} {
			at, err := replica.ParseToken(tokens[name])
			must(t, err)
			if r.replayed(t, 0) < lsn(at.LSN) {
				t.Errorf("the standby, which is stale, is not beyond the token of %s", name)
			}
		}
		at, err := replica.ParseToken(tokens["a future"])
		must(t, err)
		if r.position(t, "pg_current_wal_insert_lsn()") >= lsn(at.LSN) {
			t.Error("there will soon be a standby that is beyond the future")
		}
	})
	next := make(map[string]string)
	for name, token := range tokens {
		t.Run("ours/"+name, func(t *testing.T) {
			s := db.Session()
			s.Carry(token)
			for range 3 {
				wantPrimary(t, wantBody(t, s, "a", "new"))
			}
			next[name] = s.Token(t.Context())
		})
	}
	r.Resume(t)
	r.CatchUp(t)
	for name, token := range tokens {
		t.Run("ours/caught up, "+name, func(t *testing.T) {
			s := db.Session()
			s.Carry(token)
			wantPrimary(t, wantBody(t, s, "a", "new"))
		})
	}
	for name, token := range next {
		t.Run("ours/after "+name, func(t *testing.T) {
			standbyAgain(t, func() *replica.Session {
				s := db.Session()
				s.Carry(token)
				return s
			}, "a", "new")
		})
	}
}
