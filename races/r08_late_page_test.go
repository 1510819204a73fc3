package races

import (
	"testing"
	"time"

	"casq/internal/retention"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR08LatePage: the registry is compared with a standby that has not seen the
// newest create, or delete, yet, while home's cursor has. What the late page
// does not show looks gone, and what it still shows looks forgotten: by then also
// the tombstone, which would have said so, may have been purged. Nothing that
// lives may be removed, and nothing dead may come back; and the comparison is
// done all the same once the standby has caught up.
func TestR08LatePage(t *testing.T) {
	t.Parallel()
	t.Run("twin/no comparing of ticks", func(t *testing.T) {
		t.Parallel()
		r := newR08(t)
		r.created(t)
		wantResources(t, r.naivelyRemoved(t), "young") // which is there
	})
	t.Run("twin/a tombstone is no row", func(t *testing.T) {
		t.Parallel()
		r := newR08(t)
		r.deleted(t)
		wantResources(t, r.naivelyCreated(t, "deleted_at IS NULL"), "old") // which is gone
	})
	t.Run("twin/no floor", func(t *testing.T) {
		t.Parallel()
		r := newR08(t)
		r.deleted(t)
		wantResources(t, r.naivelyCreated(t, "true")) // the tombstone tells
		r.purge(t)
		wantResources(t, r.naivelyCreated(t, "true"), "old") // which is gone
	})
	t.Run("ours/created", func(t *testing.T) {
		t.Parallel()
		r := newR08(t)
		r.created(t)
		r.reconcile(t, r.late, newPoints())
		r.until(t, "the run", reconcileFinished, "finished")
		r.wantIs(t, "old synced\nyoung pending", "created 0, changed 0, removed 0, late 1")
		r.catchUp(t)
		r.reconcile(t, r.late, newPoints())
		r.until(t, "the next run", reconcileCounts, "created 0, changed 0, removed 0, late 1\ncreated 0, changed 0, removed 0, late 0")
	})
	t.Run("ours/deleted", func(t *testing.T) {
		t.Parallel()
		r := newR08(t)
		r.deleted(t)
		r.reconcile(t, r.late, newPoints())
		r.until(t, "the run", reconcileFinished, "finished")
		r.wantIs(t, "old removed", "created 0, changed 0, removed 0, late 1")
	})
	t.Run("ours/purged", func(t *testing.T) {
		t.Parallel()
		r := newR08(t)
		r.deleted(t)
		r.purge(t)
		r.reconcile(t, r.late, newPoints())
		r.until(t, "the wait for another host", reconcileWaiting, "true")
		r.wantIs(t, "", "")
		execute(t, r.source, "INSERT INTO resources VALUES ('next')")
		r.tick(t)
		r.catchUp(t)
		r.until(t, "the run", reconcileFinished, "finished")
		r.wantIs(t, "next pending", "created 0, changed 0, removed 0, late 0")
	})
}

type r08 struct {
	*reconcileSite
	primary, server *servers.Postgres
	late            *pgxpool.Pool
}

// newR08 has one resource, which is synced, and a standby that has seen no more
// than that.
func newR08(t *testing.T) *r08 {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	r := &r08{
		reconcileSite: newReconcileSite(t, cluster.URL(), testdb.New(t).URL),
		primary:       cluster.Primary, server: cluster.Standbys[0], late: testdb.Pool(t, cluster.StandbyURL(0)),
	}
	r.follow(t, newPoints())
	execute(t, r.source, "INSERT INTO resources VALUES ('old')")
	r.tick(t)
	r.until(t, "the first resource", reconcileRows, "old pending")
	r.done(t)
	if err := r.server.WaitReplayed(t.Context(), r.primary); err != nil {
		t.Fatal(err)
	}
	if err := r.server.PauseReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// done says that all work was done.
func (r *r08) done(t *testing.T) {
	t.Helper()
	execute(t, r.home, "UPDATE casq.registry SET synced_version = version")
}

func (r *r08) created(t *testing.T) {
	t.Helper()
	execute(t, r.source, "INSERT INTO resources VALUES ('young')")
	r.tick(t)
	r.until(t, "the create", reconcileRows, "old synced\nyoung pending")
}

func (r *r08) deleted(t *testing.T) {
	t.Helper()
	execute(t, r.source, "DELETE FROM resources")
	r.tick(t)
	r.until(t, "the delete", reconcileRows, "old removing")
	r.done(t)
}

// purge forgets the tombstone.
func (r *r08) purge(t *testing.T) {
	t.Helper()
	err := retention.Round(t.Context(), retention.Config{Home: r.home, Logger: raceLog(t), Tombstones: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	r.until(t, "the purge", reconcileRows, "")
}

func (r *r08) catchUp(t *testing.T) {
	t.Helper()
	if err := r.server.ResumeReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.server.WaitReplayed(t.Context(), r.primary); err != nil {
		t.Fatal(err)
	}
}

// naivelyRemoved are the rows whose resources the late page does not show.
func (r *r08) naivelyRemoved(t *testing.T) []string {
	t.Helper()
	shown := resourcesOf(t, r.late, "SELECT key FROM resources ORDER BY key")
	return resourcesOf(t, r.home, "SELECT resource_id FROM casq.registry WHERE deleted_at IS NULL AND resource_id <> ALL ($1) ORDER BY 1", shown)
}

// naivelyCreated are the resources of the late page that have no row which meets a
// condition.
func (r *r08) naivelyCreated(t *testing.T, condition string) []string {
	t.Helper()
	shown := resourcesOf(t, r.late, "SELECT key FROM resources ORDER BY key")
	return resourcesOf(t, r.home, "SELECT key FROM unnest($1::text[]) AS key WHERE NOT EXISTS (SELECT FROM casq.registry WHERE resource_id = key AND "+condition+")", shown)
}

func (r *r08) wantIs(t *testing.T, rows, counts string) {
	t.Helper()
	if got := lines(t, r.home, reconcileRows); got != rows {
		t.Errorf("rows %q, want %q", got, rows)
	}
	if got := lines(t, r.home, reconcileCounts); got != counts {
		t.Errorf("report %q, want %q", got, counts)
	}
}
