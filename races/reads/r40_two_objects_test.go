package reads

import (
	"testing"

	"casq/replica"
)

// TestR40TwoObjects: a request deals with A, which one standby has, and with B,
// which both have. Both are to be read from the first: the last comparison must not
// win over the others' host.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR40TwoObjects(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	_, open := newPositions(t)
	writer, reader := r.open(t, replica.Options{Store: open(), Wait: -1}), r.open(t, replica.Options{Store: open(), Wait: -1})
	session := func() *replica.Session { return reader.Session(document("a"), document("b")) }
	store := &publishedStore{}
	sessionWrite(t, writer.Session(document("b")), "b", "new")
	store.stick(r.position(t, "pg_current_wal_insert_lsn()"), "b")
	r.CatchUp(t)
	standbyAgain(t, session, "b", "new")
	r.Pause(t, 1)
	sessionWrite(t, writer.Session(document("a")), "a", "new")
	store.stick(r.position(t, "pg_current_wal_insert_lsn()"), "a")
	r.CatchUp(t, 0)

	t.Run("twin/the last comparison wins", func(t *testing.T) {
		host := store.host([]lsn{r.replayed(t, 0), r.replayed(t, 1)}, "a", "b")
		if host != 1 || body(t, r.standby[host], "a") == "new" {
			t.Errorf("host %d was chosen, and a is not stale", host)
		}
	})
	t.Run("ours", func(t *testing.T) {
		host := ""
		standbyAgain(t, session, "a", "new")
		for range 20 {
			s := session()
			for _, id := range []string{"a", "b"} {
				choice := wantBody(t, s, id, "new")
				if !choice.Reason.Standby() || host != "" && choice.Host != host {
					t.Errorf("%s went to %s", id, choice)
				}
				host = choice.Host
			}
		}
	})
}
