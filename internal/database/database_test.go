package database

import (
	"net/url"
	"testing"
	"time"

	"casq/internal/testing/testdb"
)

// A database may give all sessions settings that suit its application: ours have
// their own, also where a pooler wants the simple protocol, which has values as
// text.
func TestSettingsOfTheDatabaseAreNotOurs(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	admin := db.Pool(t)
	for _, setting := range []string{
		"datestyle = 'SQL, DMY'", "intervalstyle = 'postgres_verbose'", "bytea_output = 'escape'", "extra_float_digits = -2",
		"standard_conforming_strings = off", "statement_timeout = '1ms'", "lock_timeout = '1ms'",
		"default_transaction_isolation = 'serializable'", "timezone = 'Asia/Kathmandu'",
	} {
		if _, err := admin.Exec(t.Context(), "ALTER DATABASE "+db.Name+" SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"cache_statement", "simple_protocol"} {
		pool, err := Open(t.Context(), with(t, db.URL, mode), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		var (
			at        time.Time
			took      time.Duration
			bytes     []byte
			isolation string
		)
		err = pool.QueryRow(t.Context(), `SELECT '2026-02-03 04:05:06+00'::timestamptz, '90 seconds'::interval, '\x00ff'::bytea,
			current_setting('transaction_isolation') FROM pg_sleep(0.05)`).Scan(&at, &took, &bytes, &isolation)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if want := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC); !at.Equal(want) || took != 90*time.Second ||
			string(bytes) != "\x00\xff" || isolation != "read committed" {
			t.Errorf("%s: got %v, %v, %x, %s", mode, at, took, bytes, isolation)
		}
	}
}

// Servers that are set up as copies of one have its system identifier, and number
// their databases alike.
func TestIdentityIsOneInstallations(t *testing.T) {
	t.Parallel()
	var names []string
	for range 2 {
		name, err := Identity(t.Context(), testdb.Pool(t, testdb.NewCluster(t).URL()))
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
