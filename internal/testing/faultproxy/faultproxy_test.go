package faultproxy_test

import (
	"testing"

	"casq/internal/testing/faultproxy"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testdb.Main(m) }

func TestAnswerIsLostAndTheWorkIsDone(t *testing.T) {
	t.Parallel()
	db := testdb.Empty(t)
	network := faultproxy.New()
	pool := network.Pool(t, db.URL)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE t (i int)"); err != nil {
		t.Fatal(err)
	}
	insert := func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO t VALUES (1)")
		return err
	}
	network.LoseAnswer("commit")
	if err := pgx.BeginFunc(t.Context(), pool, insert); err == nil {
		t.Error("a commit whose answer was lost has succeeded")
	}
	<-network.Lost()
	if err := pgx.BeginFunc(t.Context(), pool, insert); err != nil {
		t.Errorf("the commit after it: %v", err)
	}
	var n int
	if err := db.Pool(t).QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows, want 2, %v", n, err)
	}
}
