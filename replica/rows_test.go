package replica_test

import (
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestColumnsOfAnEmptyResult are asked for when its connection has long been used by
// others: pgx keeps them with the connection.
func TestColumnsOfAnEmptyResult(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	config := b.Primary.Config()
	config.MaxConns = 1
	one, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	db, err := replica.New(t.Context(), one, replica.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	for name, session := range map[string]func() *replica.Session{
		"a session":  func() *replica.Session { return db.Session() },
		"no session": func() *replica.Session { return nil },
	} {
		ctx := replica.NewContext(t.Context(), session())
		empty, err := db.Query(ctx, "SELECT id AS first_column FROM documents WHERE false")
		if err != nil {
			t.Fatal(err)
		}
		if empty.Next() {
			t.Fatalf("%s: there is a row", name)
		}
		var other int
		if err := one.QueryRow(ctx, "SELECT 1 AS other_column").Scan(&other); err != nil {
			t.Fatal(err)
		}
		if got := empty.FieldDescriptions(); len(got) != 1 || got[0].Name != "first_column" {
			t.Errorf("%s: columns %v, want first_column", name, got)
		}
		empty.Close()
		if err := empty.Err(); err != nil {
			t.Error(err)
		}
	}
}
