package reads

import (
	"errors"
	"testing"

	"casq/replica"

	"github.com/jackc/pgx/v5"
)

// TestR57LateWatch: a REPEATABLE READ transaction on a standby has its snapshot.
// Then B is written, and the session comes to deal with B. B must not be read from that
// snapshot.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR57LateWatch(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	_, store := newPositions(t)
	writer, reader := r.open(t, replica.Options{Store: store()}), r.open(t, replica.Options{Store: store()})
	r.naiveWrite(t, "a", "old")
	r.naiveWrite(t, "b", "old")
	r.CatchUp(t)
	standbyAgain(t, func() *replica.Session { return reader.Session(document("a"), document("b")) }, "a", "old")
	fixed := pgx.TxOptions{IsoLevel: pgx.RepeatableRead}

	t.Run("twin/the transaction goes on", func(t *testing.T) {
		tx, err := r.standby[0].BeginTx(t.Context(), fixed)
		must(t, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		body(t, tx, "a")
		r.naiveWrite(t, "b", "twin")
		r.CatchUp(t, 0)
		if got := body(t, tx, "b"); got != "old" {
			t.Errorf("the snapshot shows %q", got)
		}
	})
	for name, pinned := range map[string]bool{"ours/standby": false, "ours/primary": true} {
		t.Run(name, func(t *testing.T) {
			s := reader.Session(document("a"))
			if pinned {
				s.Pin()
			}
			tx, err := s.Read().BeginTx(t.Context(), fixed)
			must(t, err)
			defer func() { _ = tx.Rollback(t.Context()) }()
			body(t, tx, "a")
			sessionWrite(t, writer.Session(document("b")), "b", name)
			r.CatchUp(t)
			s.Watch(document("b"))
			var text string
			if err := tx.QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'b'").Scan(&text); pinned != (err == nil) && !errors.Is(err, replica.ErrSnapshotOlder) {
				t.Errorf("b was read as %q, %v", text, err)
			} else if err == nil && text != name {
				t.Errorf("b is %q, want %q", text, name)
			}
			must(t, tx.Rollback(t.Context()))
			again, err := s.Read().BeginTx(t.Context(), fixed)
			must(t, err)
			defer func() { _ = again.Rollback(t.Context()) }()
			if got := body(t, again, "b"); got != name {
				t.Errorf("another transaction shows %q, want %q", got, name)
			}
		})
	}
	t.Run("ours/a snapshot for each statement", func(t *testing.T) {
		s := reader.Session(document("a"))
		tx, err := s.Read().BeginTx(t.Context(), pgx.TxOptions{})
		must(t, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		body(t, tx, "a")
		sessionWrite(t, writer.Session(document("b")), "b", "newest")
		r.CatchUp(t)
		s.Watch(document("b"))
		if got := body(t, tx, "b"); got != "newest" {
			t.Errorf("b is %q", got)
		}
	})
}
