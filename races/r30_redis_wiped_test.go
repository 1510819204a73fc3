package races

import (
	"context"
	"sync"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/testing/testredis"
)

// TestR30RedisWiped: Redis loses everything, or comes back with an older dump:
// with something buffered, in the middle of a recount, of a flush, of a large
// transaction that is read page by page, and all the time under load. Where
// Redis is the only copy, that is lost, and what an older dump brings back
// counts again. Nothing may depend on it, and nobody may have to repair
// anything.
func TestR30RedisWiped(t *testing.T) {
	t.Parallel()
	countRace{
		name:     "buffered",
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 100)
			r.arrive(t)
			s.wipe(t)
		},
		zero:       map[int64]int64{1: 0},
		refreshkey: map[int64]int64{1: 0},
	}.run(t)
	countRace{
		name:     "recount",
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 100)
			r.arrive(t)
			r.start(t, 1)
			s.put(t, 2, 1, 5)
			r.arrive(t)
			s.wipe(t)
			r.scan(t)
			s.put(t, 3, 1, 7)
			s.wipe(t)
			r.end(t)
		},
		refreshkey: map[int64]int64{1: 7},
	}.run(t)
	countRace{
		name:     "older dump",
		projects: []int64{1},
		play: func(t *testing.T, s *counterSite, r recounter) {
			s.put(t, 1, 1, 100)
			r.arrive(t)
			must(t, s.client.Save(t.Context()).Err())
			r.flush(t)
			s.put(t, 2, 1, 5)
			r.arrive(t)
			must(t, s.redis.Kill())
			testredis.Restart(t, s.redis)
		},
		zero:       map[int64]int64{1: 200},
		refreshkey: map[int64]int64{1: 200},
	}.run(t)
	for _, at := range []string{"flush:frozen", "flush:locked", "flush:committed"} {
		t.Run("ours/"+at, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			o := s.ours(t)
			s.put(t, 1, 1, 100)
			o.arrive(t)
			goOn := o.heldFlush(t, at)
			s.wipe(t)
			if at != "flush:locked" { // else the others wait for it
				o.quiesceReal(t, 1)
			}
			s.put(t, 2, 1, 5)
			goOn()
			o.quiesceReal(t, 1)
		})
	}
	t.Run("ours/mid-page", r30MidPage)
	t.Run("ours/under load", r30Load)
}

func (s *counterSite) wipe(t *testing.T) {
	t.Helper()
	must(t, s.client.FlushAll(t.Context()).Err())
}

// r30MidPage wipes Redis when it has the first two pages of a transaction, one of
// them flushed, and the third has been read.
func r30MidPage(t *testing.T) {
	t.Parallel()
	s := newCounterSite(t)
	o := s.ours(t, func(cfg *counter.Config, _ *recount.Config) { cfg.PageSize, cfg.Shards = 5, 1 })
	s.exec(t, "INSERT INTO artifacts SELECT n, n % 3, 10 FROM generate_series(1, 40) AS n")
	s.tick(t)
	for page := range 2 {
		o.reads.pass()
		awaits(t, "a page is counted", func() bool {
			v, err := o.counters.Get(t.Context(), scope(1))
			return err == nil && v.Live && v.AsOf.Page == int64(5*(page+1))
		})
		if page == 0 {
			o.flush(t)
		}
	}
	if at := s.count(t, "SELECT page FROM casq.counter_shards"); at != 5 {
		t.Errorf("flushed up to page %d, want 5", at)
	}
	s.wipe(t)
	o.reads.pass() // for what had been read before
	o.quiesceReal(t, 0, 1, 2)
}

// r30Load wipes Redis again and again while rows change, flushes and recounts
// run.
func r30Load(t *testing.T) {
	t.Parallel()
	s := newCounterSite(t)
	o := s.ours(t, func(cfg *counter.Config, _ *recount.Config) { cfg.PageSize = 20 })
	o.reads.open()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	s.load(ctx, t, &group)
	o.flushAlways(ctx, t, &group)
	for range 4 {
		before := s.count(t, "SELECT count(*) FROM casq.events")
		awaits(t, "rows change", func() bool { return s.count(t, "SELECT count(*) FROM casq.events") > before+30 })
		s.wipe(t)
		o.recount(t)
	}
	stop()
	group.Wait()
	o.quiesceReal(t, 1, 2, 3)
}

// load changes artifacts of projects 1 to 3 in all ways, and ticks, until ctx is
// done. A statement that has begun ends: one that is cancelled may be committed
// later, when the table has been looked at already.
func (s *counterSite) load(ctx context.Context, t *testing.T, group *sync.WaitGroup) {
	t.Helper()
	group.Go(func() {
		for n := int64(1); ctx.Err() == nil; n++ {
			for _, change := range []string{
				"INSERT INTO artifacts SELECT $1 * 10 + i, 1 + ($1 + i) % 3, 100 + $1 % 7 FROM generate_series(0, 8) AS i",
				"UPDATE artifacts SET size = size + 1 + $1 % 5 WHERE id % 11 = $1 % 11",
				"UPDATE artifacts SET project = 1 + ($1 + project) % 3 WHERE id % 13 = $1 % 13",
				"DELETE FROM artifacts WHERE id < $1 * 10 - 100 OR id % 7 = $1 % 7",
				"SELECT casq.tick() FROM (VALUES ($1::bigint)) AS n (n)",
			} {
				if _, err := s.pool.Exec(t.Context(), change, n); err != nil {
					t.Errorf("%s: %v", change, err)
				}
			}
			breathe(ctx)
		}
	})
}

// flushAlways flushes until ctx is done.
func (o *ours) flushAlways(ctx context.Context, t *testing.T, group *sync.WaitGroup) {
	t.Helper()
	group.Go(func() {
		for ctx.Err() == nil {
			if _, err := o.counters.Flush(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("flush: %v", err)
			}
			breathe(ctx)
		}
	})
}

// breathe leaves others some of the machine.
func breathe(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}
