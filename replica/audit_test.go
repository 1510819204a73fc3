package replica_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// forgetful is a store that stops learning: what it says is what it said last.
type forgetful struct {
	replica.Store
	stuck atomic.Pointer[replica.Known]
}

func (f *forgetful) Read(ctx context.Context, objects []replica.Object) (replica.Known, error) {
	if known := f.stuck.Load(); known != nil {
		return *known, nil
	}
	return f.Store.Read(ctx, objects)
}

// audits returns what was counted since before, once it is one more.
func audits(t *testing.T, db *replica.DB, before replica.Audits) replica.Audits {
	t.Helper()
	var since replica.Audits
	replicatest.Until(t, "the read is compared", func() error {
		now := db.Counts().Audits
		since = replica.Audits{Same: now.Same - before.Same, Undecided: now.Undecided - before.Undecided, Violations: now.Violations - before.Violations}
		if since == (replica.Audits{}) {
			return errors.New("it is not")
		}
		return nil
	})
	return since
}

// TestAudit: what a standby returned is compared with the primary's truth, and a
// difference counts only when no write explains it.
func TestAudit(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	object := replica.Object{Namespace: "document", ID: "a"}
	store := &forgetful{Store: redisstore.New(testredis.Client(t, testredis.Start(t)), redisstore.Options{Timeout: 10 * time.Second})}
	quiet := slog.New(slog.DiscardHandler)
	db := b.Open(t, replica.Options{Store: store, Audit: 1, Wait: 10 * time.Second, Logger: quiet})
	writer := b.Open(t, replica.Options{Store: store.Store, Logger: quiet})
	write(t, writer.Session(object), "one")
	expect := func(what string, want replica.Audits, read func()) {
		t.Helper()
		before := db.Counts().Audits
		read()
		if got := audits(t, db, before); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	s := db.Session(object)
	expect("caught up", replica.Audits{Same: 1}, func() {
		replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, s, "one") })
	})
	expect("rows that the caller leaves", replica.Audits{Same: 1}, func() {
		rows, err := s.Read().Query(t.Context(), "SELECT n FROM generate_series(1, 1000) AS n")
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
	})
	expect("no rows", replica.Audits{Same: 1}, func() {
		_ = s.Read().QueryRow(t.Context(), "SELECT body FROM documents WHERE id = $1", "none").Scan(new(string))
	})
	expect("an argument that may change", replica.Audits{Undecided: 1}, func() {
		_ = s.Read().QueryRow(t.Context(), "SELECT 1 WHERE $1::int[] IS NULL", []int{1}).Scan(new(int))
	})
	expect("the clock", replica.Audits{Undecided: 1}, func() {
		_ = s.Read().QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(new(time.Time))
	})

	b.Pause(t, 0)
	write(t, writer.Session(object), "two")
	// The session asked the store before that write: it may read what was before it.
	expect("written meanwhile", replica.Audits{Undecided: 1}, func() {
		if got := read(t, s); got != "one" {
			t.Fatalf("read %q\n%s", got, s.Explain())
		}
	})
	old, err := replica.ParseToken(s.Token(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	store.stuck.Store(&replica.Known{Position: old})
	expect("a store that lies", replica.Audits{Violations: 1}, func() { read(t, db.Session(object)) })
	expect("without a row", replica.Audits{Violations: 1}, func() {
		_ = db.Session(object).Read().QueryRow(t.Context(), "SELECT 1 FROM documents WHERE body = 'two'").Scan(new(int))
	})
	b.Resume(t, 0)
}
