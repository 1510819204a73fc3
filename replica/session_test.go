package replica_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/jackc/pgx/v5"
)

func TestWhatWasWrittenIsRead(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 2)
	db := b.Open(t, replica.Options{Wait: 10 * time.Second})

	s := db.Session()
	write(t, s, "one")
	if got := read(t, s); got != "one" {
		t.Errorf("read %q after writing one", got)
	}
	wantReason(t, s, replica.CaughtUp, replica.Waited)

	next := db.Session()
	next.Carry(s.Token(t.Context()))
	if got := read(t, next); got != "one" {
		t.Errorf("the next session read %q", got)
	}
	wantReason(t, next, replica.CaughtUp)

	none := db.Session()
	read(t, none)
	wantReason(t, none, replica.NothingWatched)
}

func TestLateStandbysAreNotRead(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 2)
	db := b.Open(t, replica.Options{})
	s := db.Session()
	write(t, s, "one")
	token := s.Token(t.Context())
	replicatest.Until(t, "a standby has it", func() error {
		read(t, s)
		if got := replicatest.Last(t, s); !got.Reason.Standby() {
			return errors.New(got.String())
		}
		return nil
	})

	b.Pause(t)
	write(t, s, "two")
	if got := read(t, s); got != "two" {
		t.Errorf("read %q", got)
	}
	wantReason(t, s, replica.AfterWrite)
	next := db.Session()
	next.Carry(s.Token(t.Context()))
	if got := read(t, next); got != "two" {
		t.Errorf("the next session read %q", got)
	}
	wantReason(t, next, replica.NoneCaughtUp)
	old := db.Session()
	old.Carry(token)
	if got := read(t, old); got != "one" {
		t.Errorf("a session that met only the first write read %q", got)
	}
	wantReason(t, old, replica.CaughtUp)

	b.Resume(t, 1)
	replicatest.Until(t, "the resumed standby serves", func() error {
		again := db.Session()
		again.Carry(s.Token(t.Context()))
		if got := read(t, again); got != "two" {
			t.Fatalf("read %q", got)
		}
		if got := replicatest.Last(t, again); !got.Reason.Standby() {
			return errors.New(got.String())
		}
		return nil
	})
}

func TestTransactionsTellTheirPosition(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{Wait: 10 * time.Second})
	s := db.Session()
	ctx := replica.NewContext(t.Context(), s)
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO documents VALUES ('a', 'in a transaction')")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var body string
	if err := db.QueryRow(ctx, "SELECT body FROM documents").Scan(&body); err != nil || body != "in a transaction" {
		t.Errorf("read %q, %v", body, err)
	}
	wantReason(t, s, replica.CaughtUp, replica.Waited)

	before := s.Token(ctx)
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM documents"); err != nil {
			return err
		}
		return errors.New("changed my mind")
	})
	if err == nil || s.Token(ctx) != before {
		t.Errorf("a rollback returned %v and moved the session to %s", err, s.Token(ctx))
	}

	tx, err := db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = tx.Exec(ctx, "SELECT 1/0")
	if err := tx.Commit(ctx); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("commit of a failed transaction: %v", err)
	}
	if err := tx.Rollback(ctx); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("rollback after commit: %v", err)
	}
	if _, err := tx.Exec(ctx, "SELECT 1"); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("statement after commit: %v", err)
	}
}

func TestWritesThroughTheReadDoor(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{Wait: 10 * time.Second})
	b.Exec(t, `CREATE FUNCTION grow() RETURNS bigint LANGUAGE sql AS $$
		INSERT INTO documents VALUES ('f' || (SELECT count(*) FROM documents), '') RETURNING (SELECT count(*) FROM documents) $$`)
	for _, text := range []string{
		"WITH added AS (INSERT INTO documents VALUES ('a', 'x') RETURNING body) SELECT body FROM added",
		"SELECT grow()::text",
		"SELECT body FROM documents WHERE id = 'a' FOR UPDATE",
	} {
		s := db.Session()
		if err := s.Wrote(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := s.Read().QueryRow(t.Context(), text).Scan(&got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		wantReason(t, s, replica.Refused)
		if len(s.Choices()) != 2 {
			t.Errorf("%s went to\n%s", text, s.Explain())
		}
	}
	// What says that it is a write is not sent to a standby first.
	plain := db.Session()
	var got string
	if err := plain.Read().QueryRow(t.Context(), "UPDATE documents SET body = 'y' WHERE id = 'a' RETURNING body").Scan(&got); err != nil {
		t.Error(err)
	}
	wantReason(t, plain, replica.Refused)
	if len(plain.Choices()) != 1 {
		t.Errorf("an UPDATE went to\n%s", plain.Explain())
	}
	var rows int
	if err := b.Primary.QueryRow(t.Context(), "SELECT count(*) FROM documents").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows were written, %v; want 2", rows, err)
	}
	// The primary refuses too, when it serves the read door; and the text is remembered.
	s := db.Session()
	s.Pin()
	got = ""
	if err := s.Read().QueryRow(t.Context(), "SELECT (grow() + 1)::text").Scan(&got); err != nil {
		t.Error(err)
	}
	if err := s.Read().QueryRow(t.Context(), "SELECT (grow() + 1)::text").Scan(&got); err != nil || len(s.Choices()) != 3 {
		t.Errorf("%v\n%s", err, s.Explain())
	}
}

func TestErrorsAreTheCallers(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{})
	for _, pinned := range []bool{false, true} {
		s := db.Session()
		if pinned {
			s.Pin()
		}
		for range 20 { // More than there are connections: none is lost.
			rows, err := s.Read().Query(t.Context(), "SELECT nothing FROM nowhere")
			rows.Close()
			if err == nil || !strings.Contains(err.Error(), "nowhere") {
				t.Fatalf("pinned %t: %v", pinned, err)
			}
			if err := s.Read().QueryRow(t.Context(), "SELECT 1/$1::int", 0).Scan(new(int)); err == nil || !strings.Contains(err.Error(), "SQLSTATE 22012") {
				t.Fatalf("pinned %t: %v", pinned, err)
			}
			if err := s.Read().QueryRow(t.Context(), "SELECT $1::int", make(chan int)).Scan(new(int)); err == nil {
				t.Fatal("an argument of no type was sent")
			}
			if err := s.Read().QueryRow(t.Context(), "SELECT 1 WHERE false").Scan(new(int)); !errors.Is(err, pgx.ErrNoRows) {
				t.Fatal(err)
			}
		}
	}
	if n := db.Counts().Retried; n != 0 {
		t.Errorf("%d reads were sent to another host", n)
	}
}

func TestLostStandby(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 2)
	db := b.Open(t, replica.Options{Wait: 10 * time.Second})
	s := db.Session()
	write(t, s, "one")
	read(t, s)
	for i := range b.Cluster.Standbys {
		if err := b.Cluster.Standbys[i].Kill(); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if got := read(t, s); got != "one" {
				t.Errorf("read %q", got)
			}
		}
	}
	if got := replicatest.Last(t, s); got.Reason.Standby() {
		t.Errorf("no standby is left: %s", got)
	}
}
