package database_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A database may give all sessions settings that suit its application: ours have
// their own, in each mode that we work in.
func TestSettingsOfTheDatabaseAreNotOurs(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	admin := db.Pool(t)
	for _, setting := range []string{
		"datestyle = 'SQL, DMY'", "intervalstyle = 'postgres_verbose'", "bytea_output = 'escape'", "extra_float_digits = -2",
		"standard_conforming_strings = off", "statement_timeout = '1ms'", "lock_timeout = '1ms'", "idle_session_timeout = '50ms'",
		"default_transaction_isolation = 'serializable'", "timezone = 'Asia/Kathmandu'", "client_encoding = 'LATIN1'",
		"default_transaction_read_only = on",
	} {
		if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+db.Name+" SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec"} {
		pool := open(t, with(t, db.URL, mode))
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Release)
		// A session that idles for longer than the application's may.
		if _, err := admin.Exec(t.Context(), "SELECT pg_sleep(0.1)"); err != nil {
			t.Fatal(err)
		}
		var (
			at        time.Time
			took      time.Duration
			bytes     []byte
			text      string
			isolation string
		)
		err = conn.QueryRow(t.Context(), `SELECT '2026-02-03 04:05:06+00'::timestamptz, '90 seconds'::interval, '\x00ff'::bytea,
			chr(228), current_setting('transaction_isolation') || ', read only ' || current_setting('transaction_read_only')
			FROM pg_sleep(0.05)`).Scan(&at, &took, &bytes, &text, &isolation)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if want := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC); !at.Equal(want) || took != 90*time.Second ||
			string(bytes) != "\x00\xff" || text != "ä" || isolation != "read committed, read only off" {
			t.Errorf("%s: got %v, %v, %x, %q, %s", mode, at, took, bytes, text, isolation)
		}
	}
}

// A worker writes whatever the database's default is; a URL may ask for less.
func TestURLGoesBeforeOurSettings(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("default_transaction_read_only", "on")
	u.RawQuery = query.Encode()
	var readOnly string
	if err := open(t, u.String()).QueryRow(t.Context(), "SHOW transaction_read_only").Scan(&readOnly); err != nil || readOnly != "on" {
		t.Errorf("transaction_read_only is %q, %v", readOnly, err)
	}
}

// Whoever may create a function in a schema of the search path would have it run
// as casq's owner, where its arguments fit better than those of the one meant.
func TestNobodysFunctionIsTakenForPostgres(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	_, err := db.Pool(t).Exec(t.Context(), `CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql
		AS $$ BEGIN RAISE EXCEPTION 'runs as %', current_user; END $$`)
	if err != nil {
		t.Fatal(err)
	}
	var key int64
	if err := open(t, db.URL).QueryRow(t.Context(), "SELECT hashtextextended('casq.migrate', 0)").Scan(&key); err != nil {
		t.Error(err)
	}
}

// As a superuser casq's sessions are as they should be; others are told.
func TestASessionOfAReplicaIsNotOurs(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	db := testdb.New(t)
	if _, err := db.Pool(t).Exec(t.Context(), "ALTER DATABASE "+db.Name+" SET session_replication_role = replica"); err != nil {
		t.Fatal(err)
	}
	var role string
	err := open(t, db.URL).QueryRow(t.Context(), "SHOW session_replication_role").Scan(&role)
	if err != nil || role != "origin" {
		t.Errorf("session_replication_role is %s, %v", role, err)
	}
	err = open(t, db.RoleURL(t)).Ping(t.Context())
	if database.Code(err) != "42501" || !strings.Contains(err.Error(), "session_replication_role") {
		t.Errorf("an ordinary role got %v", err)
	}
}

func TestModesWithoutTypesAreRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"simple_protocol", "exec"} {
		url := with(t, "postgres://localhost/x", mode)
		if _, err := database.Open(t.Context(), url, database.Options{}); err == nil || !strings.Contains(err.Error(), "cache_describe") {
			t.Errorf("%s: a pool got %v", mode, err)
		}
		if _, err := database.ParseConfig(url, database.Options{}); err == nil || !strings.Contains(err.Error(), "cache_describe") {
			t.Errorf("%s: a connection got %v", mode, err)
		}
	}
}

func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := database.Open(t.Context(), url, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Servers that are set up as copies of one have its system identifier, and number
// their databases alike.
func TestIdentityIsOneInstallations(t *testing.T) {
	long.Test(t)
	t.Parallel()
	var names []string
	for range 2 {
		name, err := database.Identity(t.Context(), testdb.Pool(t, testdb.NewCluster(t).URL()))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if names[0] == names[1] {
		t.Errorf("two installations are %s", names[0])
	}
}

func with(t *testing.T, databaseURL, mode string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("default_query_exec_mode", mode)
	u.RawQuery = query.Encode()
	return u.String()
}
