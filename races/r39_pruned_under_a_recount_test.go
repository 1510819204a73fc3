package races

import (
	"fmt"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/eventlog"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR39PrunedUnderARecount: old events are deleted while a recount scans a
// standby that is hours late. Everybody else has read them; the recount needs
// them, to get from what the standby shows to the present. The log has to be kept
// for it from its request on, and a standby that is late for that may not be
// scanned.
func TestR39PrunedUnderARecount(t *testing.T) {
	t.Parallel()
	t.Run("twin/nothing kept", func(t *testing.T) {
		t.Parallel()
		r := newR39(t)
		r.late(t)
		r.hours(t)
		var scanned, seen int64
		must(t, r.standby.QueryRow(t.Context(), "SELECT sum(size)::bigint FROM artifacts WHERE project = 1").Scan(&scanned))
		must(t, r.standby.QueryRow(t.Context(), "SELECT max(id) FROM casq.events").Scan(&seen))
		r.prune(t)
		after := r.count(t, "SELECT coalesce(sum(size_delta), 0)::bigint FROM casq.events WHERE id > $1", seen)
		if scanned+after == r.real(t, 1) {
			t.Errorf("scanned %d and added %d, which is what there is", scanned, after)
		}
	})
	t.Run("ours/late for the request", func(t *testing.T) {
		t.Parallel()
		r := newR39(t)
		o := r.begin(t)
		r.late(t)
		r.hours(t)
		o.start(t, 1)
		r.pruneUnder(t, o)
		o.scan(t)
		r.pruneUnder(t, o)
		o.end(t)
		o.quiesceReal(t, 1)
		r.prune(t) // the recount is over
		r.wantHost(t, r.pool)
	})
	t.Run("ours/late since", func(t *testing.T) {
		t.Parallel()
		r := newR39(t)
		o := r.begin(t)
		o.start(t, 1)
		r.late(t)
		r.pruneUnder(t, o)
		o.scan(t)
		r.pruneUnder(t, o)
		o.end(t)
		o.quiesceReal(t, 1)
		r.prune(t)
		r.wantHost(t, r.standby)
	})
}

type r39 struct {
	*counterSite
	primary, server *servers.Postgres
	standby         *pgxpool.Pool
	next            int64
}

func newR39(t *testing.T) *r39 {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	r := &r39{
		counterSite: counterSiteAt(t, cluster.URL(), testdb.Pool(t, cluster.URL())),
		primary:     cluster.Primary, server: cluster.Standbys[0], standby: testdb.Pool(t, cluster.StandbyURL(0)),
	}
	r.put(t, -1, 1, 300)
	r.put(t, -2, 1, 40)
	r.hours(t)
	return r
}

func (r *r39) begin(t *testing.T) *ours {
	t.Helper()
	o := r.ours(t, func(_ *counter.Config, cfg *recount.Config) { cfg.Standbys = []*pgxpool.Pool{r.standby} })
	o.arrive(t)
	o.flush(t)
	return o
}

// late stops the standby where it is.
func (r *r39) late(t *testing.T) {
	t.Helper()
	must(t, r.server.WaitReplayed(t.Context(), r.primary))
	must(t, r.server.PauseReplay(t.Context()))
}

// hours is five of them, in which rows change.
func (r *r39) hours(t *testing.T) {
	t.Helper()
	for range 5 {
		r.next++
		r.put(t, r.next, 1, 100)
		r.put(t, -100-r.next, 1, 7)
		r.remove(t, -100-r.next)
		r.tick(t)
		r.exec(t, "UPDATE casq.ticks SET taken_at = taken_at - interval '1 hour'")
	}
	r.tick(t)
}

// prune deletes what nobody needs, which must be something.
func (r *r39) prune(t *testing.T) {
	t.Helper()
	pruned, err := eventlog.Prune(t.Context(), r.pool, time.Hour, eventlog.Pruning{})
	must(t, err)
	if pruned.Ticks == 0 || pruned.Events == 0 {
		t.Errorf("pruned %d ticks and %d events; there is nothing to be afraid of", pruned.Ticks, pruned.Events)
	}
}

// pruneUnder lets hours pass, everybody read what happened, and the rest go.
func (r *r39) pruneUnder(t *testing.T, o *ours) {
	t.Helper()
	r.hours(t)
	o.arrive(t)
	o.flush(t)
	_, err := eventlog.Prune(t.Context(), r.pool, time.Hour, eventlog.Pruning{})
	must(t, err)
	oldest := r.count(t, "SELECT min(id) FROM casq.ticks")
	if floor := r.count(t, "SELECT floor_tick FROM casq.scans"); oldest > floor {
		t.Errorf("pruned up to tick %d, the recount needs %d", oldest, floor)
	}
}

// wantHost checks where the scan was.
func (r *r39) wantHost(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	cfg := pool.Config().ConnConfig
	want := fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
	if got := lines(t, r.pool, "SELECT host FROM casq.scans"); got != want {
		t.Errorf("scanned on %s, want %s", got, want)
	}
}
