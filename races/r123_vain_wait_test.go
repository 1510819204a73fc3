package races

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR123VainWait: reads wait for a standby that is paused, or promoted meanwhile.
// They take the primary within the bound, and no connection is held while they wait.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR123VainWait(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)

	t.Run("twin/waiting on the connection", func(t *testing.T) {
		config, err := pgxpool.ParseConfig(r.Cluster.StandbyURL(0))
		must(t, err)
		config.MaxConns = 2
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		must(t, err)
		t.Cleanup(pool.Close)
		r.Pause(t, 0)
		need := r.naiveWrite(t, "a", "twin")
		var waiters []*pgxpool.Conn
		for range 2 {
			conn, err := pool.Acquire(t.Context())
			must(t, err)
			waiters = append(waiters, conn)
			if replayedOn(t, conn) >= need {
				t.Fatal("the standby has it")
			}
		}
		if stat := pool.Stat(); stat.IdleConns() != 0 || stat.TotalConns() != stat.MaxConns() {
			t.Error("somebody who expects nothing could read")
		}
		for _, conn := range waiters {
			conn.Release()
		}
		r.Resume(t, 0)
	})
	t.Run("ours/paused", func(t *testing.T) {
		r.CatchUp(t)
		db := r.open(t, replica.Options{})
		r.Pause(t)
		s := db.Session()
		sessionWrite(t, s, "a", "new")
		for n := range 20 {
			choice := wantBody(t, s, "a", "new")
			wantPrimary(t, choice)
			if choice.Waited > time.Second {
				t.Errorf("read %d waited %s", n, choice.Waited)
			}
		}
		r.Resume(t)
	})
	t.Run("ours/promoted", func(t *testing.T) {
		r.CatchUp(t)
		var pool *pgxpool.Pool
		db := r.open(t, replica.Options{Wait: time.Hour, Connect: func(ctx context.Context, url string) (_ *pgxpool.Pool, err error) {
			pool, err = pgxpool.New(ctx, url)
			return pool, err
		}}, 0)
		must(t, r.Cluster.Standbys[0].CutOff(t.Context()))
		writer := db.Session()
		sessionWrite(t, writer, "a", "newest")
		var group sync.WaitGroup
		for range 10 {
			s := db.Session()
			s.Carry(writer.Token(t.Context()))
			group.Go(func() { wantPrimary(t, wantBody(t, s, "a", "newest")) })
		}
		replicatest.Until(t, "ten reads wait", func() error {
			if n := db.Hosts()[0].Waiting; n < 10 {
				return fmt.Errorf("%d do", n)
			}
			return nil
		})
		if n := pool.Stat().AcquiredConns(); n != 0 {
			t.Errorf("%d connections are held while reads wait", n)
		}
		must(t, r.Cluster.Standbys[0].Promote(t.Context()))
		group.Wait()
	})
}
