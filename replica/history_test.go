package replica_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestAPositionOfAnotherHistory: the store has a position above all of ours, of a
// primary that was given up, or of another database with the same prefix. It hides
// what is written to the object from now on; standbys serve it all the same, and are
// not stale.
func TestAPositionOfAnotherHistory(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	client := testredis.Client(t, testredis.Start(t))
	open := func() *replica.DB {
		return b.Open(t, replica.Options{Store: redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})})
	}
	writer, reader := open(), open()
	one := replica.Object{Namespace: "document", ID: "a"}
	write(t, writer.Session(one), "one")
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, reader.Session(one), "one") })
	foreign := replica.Position{Timeline: math.MaxInt64, LSN: 1}
	store := redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})
	if err := store.End(t.Context(), []replica.Object{one}, "", foreign); err != nil {
		t.Fatal(err)
	}
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, reader.Session(one), "one") })
	b.Pause(t)
	write(t, writer.Session(one), "two")
	s := reader.Session(one)
	if got := read(t, s); got != "two" {
		t.Errorf("read %q\n%s", got, s.Explain())
	}
	wantReason(t, s, replica.Timeline)
	b.Resume(t)
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, reader.Session(one), "two") })
}

// TestAMarkOfAnotherHistory: likewise for a mark. What became of its write nobody can tell
// here; it neither keeps its object from the standbys for ever, nor is it removed.
func TestAMarkOfAnotherHistory(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	store := redisstore.New(testredis.Client(t, testredis.Start(t)), redisstore.Options{Timeout: 10 * time.Second})
	db := b.Open(t, replica.Options{Store: store, Wait: -1})
	one := []replica.Object{{Namespace: "document", ID: "a"}}
	write(t, db.Session(one...), "one")
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, db.Session(one...), "one") })
	if err := store.Begin(t.Context(), one, "foreign", math.MaxInt64, 1); err != nil {
		t.Fatal(err)
	}
	b.Pause(t)
	b.Exec(t, "UPDATE documents SET body = 'two'") // Past the store: nothing else tells of it.
	s := db.Session(one...)
	if got := read(t, s); got != "two" {
		t.Errorf("read %q\n%s", got, s.Explain())
	}
	wantReason(t, s, replica.Timeline)
	b.Resume(t)
	replicatest.Until(t, "the mark is old, and the standby serves", func() error {
		known, err := store.Read(t.Context(), one)
		if err != nil || len(known.Writing) != 1 {
			t.Fatalf("the store has %d marks: %v", len(known.Writing), err)
		}
		if age := known.Writing[0].Age; age < time.Second {
			return fmt.Errorf("it is %s old", age)
		}
		return standbyServes(t, db.Session(one...), "two")
	})
}

// TestAMarkOfAnOpenTransaction: however old it is, its mark stays.
func TestAMarkOfAnOpenTransaction(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	store := redisstore.New(testredis.Client(t, testredis.Start(t)), redisstore.Options{Timeout: 10 * time.Second})
	db := b.Open(t, replica.Options{Store: store, Wait: -1})
	one := []replica.Object{{Namespace: "document", ID: "a"}}
	write(t, db.Session(one...), "one")
	at, err := db.Present(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx, err := b.Primary.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	var xid int64
	if err := tx.QueryRow(t.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid); err != nil {
		t.Fatal(err)
	}
	if err := store.Begin(t.Context(), one, "open", at.Timeline, uint64(xid)); err != nil {
		t.Fatal(err)
	}
	replicatest.Until(t, "the mark is old, and was met", func() error {
		known, err := store.Read(t.Context(), one)
		if err != nil || len(known.Writing) != 1 {
			t.Fatalf("the store has %d marks: %v", len(known.Writing), err)
		}
		s := db.Session(one...)
		read(t, s)
		wantReason(t, s, replica.BeingWritten)
		if age := known.Writing[0].Age; age < 1200*time.Millisecond {
			return fmt.Errorf("it is %s old", age)
		}
		return nil
	})
	if known, err := store.Read(t.Context(), one); err != nil || len(known.Writing) != 1 {
		t.Errorf("the store has %d marks: %v", len(known.Writing), err)
	}
}

// TestAnUnknownHistoryWhileThePrimaryIsAway: whether a position is of another history
// cannot be asked. It is asked again at the next read; until then no standby serves.
func TestAnUnknownHistoryWhileThePrimaryIsAway(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	store := redisstore.New(testredis.Client(t, testredis.Start(t)), redisstore.Options{Timeout: 10 * time.Second})
	b.Open(t, replica.Options{})
	primary := testdb.Pool(t, b.Cluster.URL())
	db, err := replica.New(t.Context(), primary, replica.Options{Store: store, Standbys: replica.URLs(b.URLs()[0])})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	one := replica.Object{Namespace: "document", ID: "a"}
	write(t, db.Session(one), "one")
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, db.Session(one), "one") })
	if err := store.End(t.Context(), []replica.Object{one}, "", replica.Position{Timeline: math.MaxInt64, LSN: 1}); err != nil {
		t.Fatal(err)
	}
	primary.Close()
	s := db.Session(one)
	for range 2 {
		var body string
		if err := s.Read().QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err == nil {
			t.Errorf("read %q\n%s", body, s.Explain())
		}
	}
}
