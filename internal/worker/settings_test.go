package worker

import (
	"context"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/database"
	"casq/internal/testing/testdb"
	"casq/jobs"
	"casq/migrations"
)

// strange are settings that a role or a database may have for the sake of an
// application, or by mistake. Those that a server does not know are left away.
var strange = map[string]string{
	// The application of the test has these, too.
	"default_transaction_isolation":       "serializable",
	"default_transaction_deferrable":      "on",
	"search_path":                         "stranger, pg_catalog, public",
	"row_security":                        "off",
	"quote_all_identifiers":               "on",
	"transform_null_equals":               "on",
	"array_nulls":                         "off",
	"standard_conforming_strings":         "off",
	"synchronize_seqscans":                "off",
	"synchronous_commit":                  "off",
	"plan_cache_mode":                     "force_generic_plan",
	"enable_seqscan":                      "off",
	"enable_nestloop":                     "off",
	"enable_hashjoin":                     "off",
	"enable_sort":                         "off",
	"jit":                                 "on", // of each statement, where the server has it
	"jit_above_cost":                      "0",
	"jit_inline_above_cost":               "0",
	"jit_optimize_above_cost":             "0",
	"xmloption":                           "document",
	"check_function_bodies":               "off",
	"default_toast_compression":           "pglz",
	"backslash_quote":                     "off",
	"lc_numeric":                          "C",
	"from_collapse_limit":                 "1",
	"join_collapse_limit":                 "1",
	"force_parallel_mode":                 "on", // until 15
	"debug_parallel_query":                "on", // from 16 on
	"min_parallel_table_scan_size":        "0",
	"TimeZone":                            "Asia/Kathmandu",
	"DateStyle":                           "SQL, DMY",
	"IntervalStyle":                       "sql_standard",
	"bytea_output":                        "escape",
	"extra_float_digits":                  "-2",
	"session_replication_role":            "replica", // a superuser's
	"idle_session_timeout":                "300ms",
	"client_encoding":                     "LATIN1",
	"default_transaction_read_only":       "on",
	"statement_timeout":                   "20ms",
	"lock_timeout":                        "1ms",
	"transaction_timeout":                 "50ms", // from 17 on
	"idle_in_transaction_session_timeout": "1ms",
}

// What an application could not work with itself.
const usable = "&default_transaction_read_only=off&statement_timeout=0&lock_timeout=0&idle_session_timeout=0" +
	"&idle_in_transaction_session_timeout=0&client_encoding=UTF8"

// A role and a database may have any settings: what casq does for an application
// that has them is the same, from the first migration on.
func TestSettingsOfAStranger(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := testdb.Empty(t)
			own, err := database.Open(t.Context(), db.URL, database.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(own.Close)
			b := &testBundle{url: db.URL, pool: own, source: t.TempDir(), target: t.TempDir(), log: &testLog{t: t}}
			b.exec(t, "CREATE SCHEMA stranger")
			// What is found instead of casq's own where a name is not whole.
			b.exec(t, "CREATE TABLE stranger.events (); CREATE TABLE stranger.kinds (); CREATE TABLE stranger.river_job ();"+
				"CREATE FUNCTION stranger.now() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'")
			for name, value := range strange {
				if name != "search_path" { // the one that is a list
					value = "'" + value + "'"
				}
				b.exec(t, `DO $$ BEGIN
					IF EXISTS (SELECT FROM pg_settings WHERE name = '`+name+`'
						AND (context = 'user' OR current_setting('is_superuser')::boolean)) THEN
						ALTER ROLE CURRENT_USER IN DATABASE `+db.Name+` SET `+name+` TO `+value+`;
					END IF;
				END $$`)
			}
			logger := slog.New(slog.NewTextHandler(b.log, nil))
			if err := migrations.Up(t.Context(), db.URL, logger); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- Run(ctx, Config{
					HomeURL: inMode(t, db.URL, mode), ArtifactSource: b.source, ArtifactTarget: b.target,
					ClaimTTL: 3 * time.Second, CursorWait: 100 * time.Millisecond, Logger: logger,
				})
			}()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("worker: %v", err)
				}
			})
			b.exec(t, artifactsTable)
			b.exec(t, trackArtifacts)
			b.pool = testdb.Pool(t, db.URL+usable)
			for _, content := range []string{"first", "second, longer"} {
				for _, key := range []string{"a/b", "ä/ö"} {
					b.put(t, key, content)
					b.until(t, key, func() bool { return b.inPlace(key, content) && b.status(t, key) == "synced" })
				}
			}
			b.until(t, "a/b", func() bool { return b.counted(t, "size = 28 AND items = 2 AND exact") })
			if _, err := own.Exec(t.Context(), "UPDATE casq.counters SET size = 1"); err != nil {
				t.Fatal(err)
			}
			queue, err := jobs.NewQueue(own, logger)
			if err != nil {
				t.Fatal(err)
			}
			counting := jobs.NewCounting(queue)
			asking := recount.New(recount.Config{
				Home: own, Jobs: counting, Logger: logger,
				Counters: counter.New(counter.Config{Home: own, Jobs: counting, Logger: logger}),
			})
			if _, _, err := asking.Refresh(t.Context(), recount.Request{Kind: "artifact", Scopes: []string{"1"}}); err != nil {
				t.Fatal(err)
			}
			b.exec(t, "DELETE FROM public.artifacts WHERE path = 'ä/ö'")
			b.until(t, "ä/ö", func() bool { return b.status(t, "ä/ö") == "removed" })
			b.until(t, "a/b", func() bool { return b.counted(t, "size = 14 AND items = 1 AND refresh IS NOT NULL") })
		})
	}
}

func inMode(t *testing.T, databaseURL, mode string) string {
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
