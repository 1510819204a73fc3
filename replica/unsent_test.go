package replica_test

import (
	"context"
	"sync/atomic"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestAWriteThatWasNotSent: its connection was closed before. Nothing was written, so
// the session is not unresolved.
func TestAWriteThatWasNotSent(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	config, err := pgxpool.ParseConfig(b.Cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	var closing atomic.Bool
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		if closing.Swap(false) {
			return true, conn.Close(ctx)
		}
		return true, nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db, err := replica.New(t.Context(), pool, replica.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := db.Session()
	write(t, s, "one")
	token := s.Token(t.Context())
	closing.Store(true)
	if _, err := s.Write().Exec(t.Context(), "UPDATE documents SET body = 'two'"); err == nil {
		t.Fatal("a closed connection has written")
	}
	if closing.Load() {
		t.Fatal("no connection was closed: the test shows nothing")
	}
	if got := s.Token(t.Context()); got != token || db.Counts().Unresolved != 0 {
		t.Errorf("the token was %s and is %s; %d are unresolved", token, got, db.Counts().Unresolved)
	}
}
