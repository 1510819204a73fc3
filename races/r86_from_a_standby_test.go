package races

import (
	"testing"

	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR86FromAStandby: the log is followed through a standby while a transaction
// stays open, and while replay is paused. A snapshot that is taken on a standby
// has no list of the transactions that are open: it calls the slow one finished,
// and whoever goes on from there never sees its event. Each event has to be
// applied once, and in the meantime nothing that the standby does not show.
func TestR86FromAStandby(t *testing.T) {
	t.Parallel()
	t.Run("twin/snapshots of the standby", func(t *testing.T) {
		t.Parallel()
		r := newR86(t)
		seen := "1:1:"
		var got []string
		r.play(t, func(...string) {
			var now string
			if err := r.standby.QueryRow(t.Context(), "SELECT pg_current_snapshot()::text").Scan(&now); err != nil {
				t.Fatal(err)
			}
			got = append(got, resourcesOf(t, r.standby, `SELECT resource_id FROM casq.events
				WHERE NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
				  AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot) ORDER BY id`, seen, now)...)
			seen = now
		})
		wantResources(t, got, "fast", "paused") // and never "slow"
	})
	t.Run("twin/highest id", func(t *testing.T) {
		t.Parallel()
		r := newR86(t)
		twin := &idPoller{db: r.standby}
		var got []string
		r.play(t, func(...string) { got = append(got, twin.poll(t)...) })
		wantResources(t, got, "fast", "paused")
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR86(t)
		cfg := r.site.config(t)
		cfg.Source = r.standby
		follow(t, cfg)
		r.play(t, func(want ...string) { r.site.wantAppliedInAnyOrder(t, want...) })
	})
}

type r86 struct {
	site    *logSite
	primary *servers.Postgres
	server  *servers.Postgres // the standby
	standby *pgxpool.Pool
}

func newR86(t *testing.T) *r86 {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	return &r86{
		site: logSiteAt(t, cluster.URL()), primary: cluster.Primary,
		server: cluster.Standbys[0], standby: testdb.Pool(t, cluster.StandbyURL(0)),
	}
}

// play plays the race. look lets the follower look at the standby, and tells
// all that must have been applied by then, and no more.
func (r *r86) play(t *testing.T, look func(want ...string)) {
	t.Helper()
	s := r.site
	slow := s.begin(t, "slow")
	s.write(t, "fast")
	s.tick(t)
	r.replayed(t)
	look("fast")
	if err := r.server.PauseReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.write(t, "paused")
	s.tick(t)
	s.commit(t, slow)
	s.tick(t)
	look("fast")
	if err := r.server.ResumeReplay(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.replayed(t)
	look("fast", "paused", "slow")
}

func (r *r86) replayed(t *testing.T) {
	t.Helper()
	if err := r.server.WaitReplayed(t.Context(), r.primary); err != nil {
		t.Fatal(err)
	}
}
