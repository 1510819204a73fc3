package reads

import (
	"testing"

	"casq/replica"
)

// TestR51LastOneOnly: a request deals with A and then B, and writes both; the next
// one deals with A. A store that keeps the last object sends it to a late standby.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR51LastOneOnly(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	_, store := newPositions(t)
	first, next := r.open(t, replica.Options{Store: store(), Wait: -1}), r.open(t, replica.Options{Store: store(), Wait: -1})
	r.naiveWrite(t, "a", "old")
	r.naiveWrite(t, "b", "old")
	r.CatchUp(t)
	standbyAgain(t, func() *replica.Session { return next.Session(document("a"), document("b")) }, "a", "old")
	r.Pause(t)

	t.Run("twin/last object only", func(t *testing.T) {
		store := &publishedStore{lastOnly: true}
		r.naiveWrite(t, "a", "new")
		store.stick(r.naiveWrite(t, "b", "new"), "a", "b")
		host := store.host([]lsn{r.replayed(t, 0), r.replayed(t, 1)}, "a")
		if host < 0 || body(t, r.standby[host], "a") != "old" {
			t.Errorf("host %d was chosen, and a is not stale", host)
		}
	})
	t.Run("published, set of objects", func(t *testing.T) {
		store := &publishedStore{}
		store.stick(r.naiveWrite(t, "b", "new"), "a", "b")
		if host := store.host([]lsn{r.replayed(t, 0), r.replayed(t, 1)}, "a"); host != -1 {
			t.Errorf("host %d was chosen: the published fix wins here", host)
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := first.Session(document("a"))
		s.Watch(document("b"))
		sessionWrite(t, s, "a", "newer")
		sessionWrite(t, s, "b", "newer")
		for range 5 {
			wantPrimary(t, wantBody(t, next.Session(document("a")), "a", "newer"))
		}
	})
}

// TestR52SubsetAndStranger: a request deals with A and B, and writes both. Requests
// that deal with B, or with both, are for the primary until a standby has caught up;
// those that deal with C, or with nothing, are not.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR52SubsetAndStranger(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	_, store := newPositions(t)
	first, next := r.open(t, replica.Options{Store: store(), Wait: -1}), r.open(t, replica.Options{Store: store(), Wait: -1})
	for _, id := range []string{"a", "b", "c"} {
		r.naiveWrite(t, id, "old")
	}
	r.CatchUp(t)
	standbyAgain(t, func() *replica.Session { return next.Session(document("a"), document("b"), document("c")) }, "a", "old")
	r.Pause(t)
	s := first.Session(document("a"), document("b"))
	sessionWrite(t, s, "a", "new")
	sessionWrite(t, s, "b", "new")

	t.Run("twin/last object only", func(t *testing.T) {
		store := &publishedStore{lastOnly: true}
		store.stick(r.position(t, "pg_current_wal_insert_lsn()"), "a", "b")
		replayed := []lsn{r.replayed(t, 0), r.replayed(t, 1)}
		if store.host(replayed, "b") != -1 || store.host(replayed, "c") < 0 {
			t.Error("b and c do not go where the published form sends them")
		}
		if host := store.host(replayed, "a"); host < 0 || body(t, r.standby[host], "a") != "old" {
			t.Errorf("host %d was chosen for a, and it is not stale", host)
		}
	})
	t.Run("ours", func(t *testing.T) {
		wantPrimary(t, wantBody(t, next.Session(document("b")), "b", "new"))
		wantPrimary(t, wantBody(t, next.Session(document("a"), document("b")), "a", "new"))
		for _, s := range []*replica.Session{next.Session(document("c")), next.Session()} {
			if choice := wantBody(t, s, "c", "old"); !choice.Reason.Standby() || choice.Waited > 0 {
				t.Errorf("c went to %s", choice)
			}
		}
		r.Resume(t)
		standbyAgain(t, func() *replica.Session { return next.Session(document("b")) }, "b", "new")
		standbyAgain(t, func() *replica.Session { return next.Session(document("a"), document("b")) }, "a", "new")
	})
}
