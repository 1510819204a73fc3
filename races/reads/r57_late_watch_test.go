package reads

import (
	"errors"
	"testing"

	"casq/replica"

	"github.com/jackc/pgx/v5"
)

// TestR57LateWatch: a REPEATABLE READ transaction on a standby has its snapshot, or a
// cursor has been declared, which has one too. Then B is written, and the session comes to
// deal with B. B must not be read from that snapshot, nor, in a nested transaction, from a
// standby that is late.
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
	t.Run("twin/a cursor goes on", func(t *testing.T) {
		tx, err := r.standby[0].Begin(t.Context())
		must(t, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		_, err = tx.Exec(t.Context(), declareB)
		must(t, err)
		before := body(t, tx, "b")
		r.naiveWrite(t, "b", "twin's cursor")
		r.CatchUp(t, 0)
		var text string
		must(t, tx.QueryRow(t.Context(), "FETCH NEXT FROM b").Scan(&text))
		if text != before {
			t.Errorf("the cursor, which is older, shows %q", text)
		}
	})
	for name, pinned := range map[string]bool{"ours/a cursor, standby": false, "ours/a cursor, primary": true} {
		t.Run(name, func(t *testing.T) {
			s := reader.Session(document("a"))
			if pinned {
				s.Pin()
			}
			tx, err := s.Read().BeginTx(t.Context(), pgx.TxOptions{})
			must(t, err)
			defer func() { _ = tx.Rollback(t.Context()) }()
			_, err = tx.Exec(t.Context(), declareB)
			must(t, err)
			sessionWrite(t, writer.Session(document("b")), "b", name)
			r.CatchUp(t)
			s.Watch(document("b"))
			var text string
			if err := tx.QueryRow(t.Context(), "FETCH NEXT FROM b").Scan(&text); !errors.Is(err, replica.ErrSnapshotOlder) {
				t.Errorf("b was fetched as %q, %v", text, err)
			}
		})
	}
	t.Run("ours/nested", func(t *testing.T) {
		s := reader.Session(document("a"))
		tx, err := s.Read().BeginTx(t.Context(), pgx.TxOptions{})
		must(t, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		nested, err := tx.Begin(t.Context())
		must(t, err)
		body(t, nested, "a")
		r.Pause(t)
		defer r.Resume(t)
		sessionWrite(t, writer.Session(document("b")), "b", "written while nested")
		s.Watch(document("b"))
		var text string
		if err := nested.QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'b'").Scan(&text); !errors.Is(err, replica.ErrSnapshotOlder) {
			t.Errorf("b was read as %q, %v", text, err)
		}
	})
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

const declareB = "DECLARE b CURSOR FOR SELECT body FROM documents WHERE id = 'b'"
