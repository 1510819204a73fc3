package testdb_test

import (
	"testing"

	"casq/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

func TestNewIsMigratedAndPrivate(t *testing.T) {
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

func TestRoleURLIsOrdinary(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := testdb.Pool(t, db.RoleURL(t))
	var super bool
	err := pool.QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super)
	if err != nil || super {
		t.Fatalf("superuser %v, %v", super, err)
	}
}

func TestNewClusterHasTheDatabaseOnItsStandby(t *testing.T) {
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
