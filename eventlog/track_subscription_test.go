package eventlog_test

import (
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// Logical replication fires no statement trigger: what it writes would be
// missed. The publisher is a server of its own: within one, DROP SUBSCRIPTION waits for
// the slot of a table that is being copied, and that slot for the transaction of DROP.
func TestTrackRefusesSubscriptions(t *testing.T) {
	long.Test(t)
	t.Parallel()
	testdb.NeedsSuperuser(t)
	b := &trackBundle{pool: testdb.Pool(t, testdb.NewCluster(t).URL())}
	source := testdb.NewCluster(t, testdb.Settings(map[string]string{"wal_level": "logical"}))
	publisher := &trackBundle{pool: testdb.Pool(t, source.URL())}
	publisher.exec(t, plainTable+`; CREATE PUBLICATION all_tables FOR ALL TABLES`)
	publisher.exec(t, `SELECT pg_create_logical_replication_slot('feed', 'pgoutput')`)
	subscribe := `CREATE SUBSCRIPTION feed CONNECTION '` + source.URL() + `' PUBLICATION all_tables
		WITH (create_slot = false, slot_name = feed, enabled = false)`

	b.exec(t, plainTable+`; `+trackArtifacts)
	wantRefused(t, run(t.Context(), b.pool, subscribe), "a subscription writes public.artifacts", "at the publisher", "casq.untrack('public.artifacts')")

	b.exec(t, `SELECT casq.untrack('artifacts')`)
	b.exec(t, subscribe)
	wantRefused(t, run(t.Context(), b.pool, trackArtifacts), "a subscription writes public.artifacts", "at the publisher")
	b.exec(t, `ALTER SUBSCRIPTION feed SET (slot_name = NONE)`)
	b.exec(t, `DROP SUBSCRIPTION feed`)

	// A table that joins a publication later comes with a refresh.
	publisher.exec(t, `ALTER TABLE artifacts RENAME TO other`)
	b.exec(t, `CREATE TABLE other (LIKE artifacts INCLUDING ALL); `+trackArtifacts)
	b.exec(t, subscribe)
	b.exec(t, `ALTER SUBSCRIPTION feed ENABLE`)
	publisher.exec(t, plainTable)
	wantRefused(t, run(t.Context(), b.pool, `ALTER SUBSCRIPTION feed REFRESH PUBLICATION`), "a subscription writes public.artifacts")
	b.exec(t, `DROP SUBSCRIPTION feed`)
}
