package testdb_test

import (
	"context"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

func TestNewIsMigratedAndPrivate(t *testing.T) {
	long.Test(t)
	t.Parallel()
	one, two := testdb.New(t), testdb.New(t)
	if one.URL == two.URL {
		t.Fatalf("two tests share %s", one.URL)
	}
	if _, err := one.Pool(t).Exec(t.Context(), "CREATE TABLE t (i int)"); err != nil {
		t.Fatal(err)
	}
	var there, migrated bool
	err := two.Pool(t).QueryRow(t.Context(), `SELECT to_regclass('t') IS NOT NULL,
		to_regclass('casq.events') IS NOT NULL`).Scan(&there, &migrated)
	if err != nil || there || !migrated {
		t.Fatalf("other database: table of the first there %v, migrated %v, %v", there, migrated, err)
	}
}

func TestEmptyIsNotMigrated(t *testing.T) {
	t.Parallel()
	var migrated bool
	err := testdb.Empty(t).Pool(t).QueryRow(t.Context(), "SELECT to_regnamespace('casq') IS NOT NULL").Scan(&migrated)
	if err != nil || migrated {
		t.Fatalf("migrated %v, %v", migrated, err)
	}
}

//nolint:tparallel // The outer test waits for the end of the inner one.
func TestDatabaseIsDroppedWithConnectionsOpen(t *testing.T) {
	t.Parallel()
	var db *testdb.DB
	var open *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		db = testdb.New(t)
		conn, err := pgx.Connect(t.Context(), db.URL)
		if err != nil {
			t.Fatal(err)
		}
		// It stays open while the database is dropped.
		open = conn
	})
	defer open.Close(context.Background())
	if conn, err := pgx.Connect(t.Context(), db.URL); err == nil {
		conn.Close(t.Context())
		t.Errorf("database %s is still there", db.Name)
	}
}

func BenchmarkNew(b *testing.B) {
	testdb.New(b)
	for b.Loop() {
		testdb.New(b)
	}
}

func TestRoleURLIsOrdinary(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := testdb.Pool(t, db.RoleURL(t))
	var super bool
	err := pool.QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super)
	if err != nil || super {
		t.Fatalf("superuser %v, %v", super, err)
	}
	// A role is dropped with what it was given and what it owns.
	admin := db.Pool(t)
	role := pgx.Identifier{testdb.RoleName(t, pool.Config().ConnString())}.Sanitize()
	if _, err := admin.Exec(t.Context(), "GRANT CREATE ON SCHEMA public TO "+role); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "CREATE TABLE t (i int)"); err != nil {
		t.Fatal(err)
	}
}

func TestNewClusterHasTheDatabaseOnItsStandby(t *testing.T) {
	long.Test(t)
	t.Parallel()
	c := testdb.NewCluster(t, testdb.Standbys(1))
	if err := c.Standbys[0].WaitReplayed(t.Context(), c.Primary); err != nil {
		t.Fatal(err)
	}
	var recovery, migrated bool
	err := testdb.Pool(t, c.StandbyURL(0)).QueryRow(t.Context(),
		"SELECT pg_is_in_recovery(), to_regclass('casq.events') IS NOT NULL").Scan(&recovery, &migrated)
	if err != nil || !recovery || !migrated {
		t.Fatalf("in recovery %v, migrated %v, %v", recovery, migrated, err)
	}
}
