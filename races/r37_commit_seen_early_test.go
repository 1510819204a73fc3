package races

import (
	"context"
	"errors"
	"testing"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR37CommitSeenEarly: a commit waits for a synchronous standby, and another
// standby, which is scanned for a recount, shows it already. The primary does not
// show it, nor does any tick that is taken there after the scan: whoever takes
// such a tick for the bound adds the event to a sum that has it. The swap has to
// wait for the transaction itself.
func TestR37CommitSeenEarly(t *testing.T) {
	t.Parallel()
	t.Run("twin/a tick after the scan", func(t *testing.T) {
		t.Parallel()
		r := newR37(t)
		commit := r.commitEarly(t)
		var scanned int64
		must(t, r.standby.QueryRow(t.Context(), "SELECT sum(size)::bigint FROM artifacts WHERE project = 1").Scan(&scanned))
		bound := r.count(t, "SELECT casq.tick(true)")
		commit()
		r.tick(t)
		after := r.count(t, `SELECT coalesce(sum(e.size_delta), 0)::bigint FROM casq.events AS e, casq.ticks AS t
			WHERE t.id = $1 AND NOT pg_visible_in_snapshot(e.xid, t.snapshot)`, bound)
		if scanned+after != 200 || r.real(t, 1) != 150 {
			t.Errorf("scanned %d and added %d; want 200 together, for %d", scanned, after, r.real(t, 1))
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR37(t)
		o := r.ours(t, func(_ *counter.Config, cfg *recount.Config) { cfg.Standbys = []*pgxpool.Pool{r.standby} })
		o.arrive(t)
		commit := r.commitEarly(t)
		o.start(t, 1)
		o.scan(t)
		if n := r.count(t, "SELECT scanned_size::bigint FROM casq.refreshes"); n != 150 {
			t.Errorf("scanned %d, want the 150 that only the standby shows", n)
		}
		o.tick(t)
		f := o.queue.finalize(t)
		if err := o.worker.Finalize(t.Context(), f, 2); !errors.Is(err, recount.ErrNotReady) {
			t.Errorf("the swap has not waited: %v", err)
		}
		commit()
		o.swap(t, f)
		o.quiesceReal(t, 1)
	})
}

type r37 struct {
	*counterSite
	synchronous, early *servers.Postgres
	standby            *pgxpool.Pool
}

// newR37 is a project of 100, and a primary that waits for one of two standbys.
func newR37(t *testing.T) *r37 {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(2))
	must(t, cluster.Primary.SetSynchronous(t.Context(), "standby1"))
	r := &r37{
		counterSite: counterSiteAt(t, cluster.URL(), testdb.Pool(t, cluster.URL())),
		synchronous: cluster.Standbys[0], early: cluster.Standbys[1], standby: testdb.Pool(t, cluster.StandbyURL(1)),
	}
	r.put(t, 1, 1, 100)
	return r
}

// commitEarly has a commit wait until the first standby has replayed it, which
// it does not, and returns when the second one shows it. The returned function
// lets it end.
func (r *r37) commitEarly(t *testing.T) (commit func()) {
	t.Helper()
	must(t, r.synchronous.PauseReplay(t.Context()))
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	go func() {
		tx, err := r.pool.Begin(ctx)
		if err == nil {
			_, err = tx.Exec(ctx, "SET LOCAL synchronous_commit = 'remote_apply'; INSERT INTO artifacts VALUES (2, 1, 50)")
		}
		if err == nil {
			err = tx.Commit(ctx)
		}
		ended <- err
	}()
	awaits(t, "the second standby shows the commit", func() bool {
		var n int
		err := r.standby.QueryRow(t.Context(), "SELECT count(*) FROM artifacts").Scan(&n)
		return err == nil && n == 2
	})
	if n := r.count(t, "SELECT count(*) FROM artifacts"); n != 1 {
		t.Fatalf("the primary shows %d artifacts, want 1", n)
	}
	return func() {
		t.Helper()
		must(t, r.synchronous.ResumeReplay(t.Context()))
		must(t, <-ended)
	}
}
