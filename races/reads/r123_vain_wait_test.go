package reads

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
	// waiting has ten reads wait for a standby that misses a write, and disturbs it then.
	waiting := func(t *testing.T, standby int, bound time.Duration, text string, disturb func(context.Context) error) {
		t.Helper()
		r.CatchUp(t, standby)
		var pool *pgxpool.Pool
		db := r.open(t, replica.Options{Wait: bound, Connect: func(ctx context.Context, url string) (_ *pgxpool.Pool, err error) {
			pool, err = pgxpool.New(ctx, url)
			return pool, err
		}}, standby)
		must(t, r.Cluster.Standbys[standby].CutOff(t.Context()))
		writer := db.Session()
		sessionWrite(t, writer, "a", text)
		var group sync.WaitGroup
		for range 10 {
			s := db.Session()
			s.Carry(writer.Token(t.Context()))
			group.Go(func() { wantPrimary(t, wantBody(t, s, "a", text)) })
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
		must(t, disturb(t.Context()))
		group.Wait()
	}
	t.Run("ours/paused meanwhile", func(t *testing.T) {
		waiting(t, 1, 3*time.Second, "newer", r.Cluster.Standbys[1].PauseReplay)
	})
	t.Run("ours/promoted meanwhile", func(t *testing.T) {
		waiting(t, 0, time.Hour, "newest", r.Cluster.Standbys[0].Promote)
	})
}
