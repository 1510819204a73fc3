package replica_test

import (
	"context"
	"errors"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// mute is a store that is told, and tells nothing.
type mute struct{ replica.Store }

var errMute = errors.New("mute")

func (mute) Read(context.Context, []replica.Object) (replica.Known, error) {
	return replica.Known{}, errMute
}

// TestAnOldSnapshotWhileTheStoreIsAway: what the store does not tell is read on the primary,
// from the snapshot that is there. What the session has written since is not in that.
func TestAnOldSnapshotWhileTheStoreIsAway(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	store := mute{redisstore.New(testredis.Client(t, testredis.Start(t)), redisstore.Options{})}
	db := b.Open(t, replica.Options{Store: store})
	s := db.Session(replica.Object{Namespace: "document", ID: "a"})
	write(t, s, "one")
	tx, err := s.Read().BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	var body string
	for range 2 {
		if err := tx.QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err != nil || body != "one" {
			t.Fatalf("read %q: %v", body, err)
		}
	}
	write(t, s, "two")
	if err := tx.QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); !errors.Is(err, replica.ErrSnapshotOlder) {
		t.Errorf("read %q: %v", body, err)
	}
}

// TestAForeignTokenInATransaction: what it stands for cannot be asked, as the primary is
// away. No snapshot is known to show that, on a standby or on the primary.
func TestAForeignTokenInATransaction(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	b.Exec(t, "INSERT INTO documents VALUES ('a', 'one')")
	b.CatchUp(t)
	for name, options := range map[string]pgx.TxOptions{"standby": {}, "primary": {IsoLevel: pgx.RepeatableRead}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, err := pgxpool.New(t.Context(), b.Cluster.URL())
			if err != nil {
				t.Fatal(err)
			}
			db, err := replica.New(t.Context(), primary, replica.Options{Standbys: replica.URLs(b.URLs()...), MaxLag: -1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(db.Close)
			s := db.Session()
			if name == "primary" {
				s.Pin()
			}
			tx, err := s.Read().BeginTx(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			var body string
			if err := tx.QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err != nil {
				t.Fatalf("read %q: %v", body, err)
			}
			if got := replicatest.Last(t, s).Reason.Standby(); got != (name == "standby") {
				t.Fatal(s.Explain())
			}
			s.Carry("v1.unresolved")
			closed := make(chan struct{})
			go func() { defer close(closed); primary.Close() }()
			replicatest.Until(t, "the primary is away", func() error {
				if _, err := db.Present(t.Context()); err == nil {
					return errors.New("it answers")
				}
				return nil
			})
			if err := tx.QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); !errors.Is(err, replica.ErrSnapshotOlder) {
				t.Errorf("read %q: %v", body, err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			<-closed
		})
	}
}
