package main

import (
	"log/slog"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

// TestReader: status is read from a standby that has everything home has, and from
// home when there is none.
func TestReader(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	h := &home{Pool: testdb.Pool(t, cluster.URL()), log: slog.New(slog.DiscardHandler)}
	h.cfg.replicaURLs = []string{cluster.StandbyURL(0)}
	read := func() (standby bool, kinds int64) {
		t.Helper()
		reader, closeReader, err := h.reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer closeReader()
		rows, err := reader.Query(t.Context(), "SELECT pg_is_in_recovery(), count(*) FROM casq.kinds")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.ForEachRow(rows, []any{&standby, &kinds}, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		return standby, kinds
	}
	_, closeFirst, err := h.reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeFirst() // It has begun a timeline, which the standby has to show.
	if err := cluster.Standbys[0].WaitReplayed(t.Context(), cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if standby, kinds := read(); !standby || kinds != 0 {
		t.Errorf("on a standby %t, %d kinds", standby, kinds)
	}
	if err := cluster.Standbys[0].PauseReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exec(t.Context(), "SELECT casq.define_kind('file', 'file')"); err != nil {
		t.Fatal(err)
	}
	if standby, kinds := read(); standby || kinds != 1 {
		t.Errorf("on a standby %t that is late, %d kinds", standby, kinds)
	}
}
