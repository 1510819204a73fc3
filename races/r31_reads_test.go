package races

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// TestR31Reads: a value is read all the time while it is recounted again and
// again, and rows change. With the published counters readers see zero when the
// recount begins, and a part until it ends. What is read may never be zero or
// negative, and each value has to be the sum of all events up to the position
// that comes with it: so there is no jump that no event explains.
func TestR31Reads(t *testing.T) {
	t.Parallel()
	for name, twin := range map[string]func(*counterSite, *testing.T) *published{
		"zero":       func(s *counterSite, t *testing.T) *published { return s.zero(t) },
		"refreshkey": func(s *counterSite, t *testing.T) *published { return s.refreshkey(t) },
	} {
		t.Run("twin/"+name, func(t *testing.T) {
			t.Parallel()
			s := newCounterSite(t)
			p := twin(s, t)
			s.put(t, 1, 1, 600)
			p.arrive(t)
			p.flush(t)
			p.start(t, 1)
			if live, flushed := p.live(t, 1), p.flushed(t, 1); live != 0 || flushed != 0 {
				t.Errorf("read %d, and %d by SQL; want 0", live, flushed)
			}
			p.scan(t)
			p.end(t)
			quiesce(t, p, map[int64]int64{1: 600})
		})
	}
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		o := s.ours(t)
		for project := int64(1); project <= 3; project++ {
			s.put(t, -project, project, 5000) // stays
			s.exec(t, "INSERT INTO artifacts VALUES ($1 - 100, $1, 50)", project)
		}
		o.arrive(t)
		o.flush(t)
		o.reads.open()
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		s.loadAbove(ctx, t, &group)
		o.flushAlways(ctx, t, &group)
		var reads r31Reads
		for project := int64(1); project <= 3; project++ {
			group.Go(func() { reads.live(ctx, t, o, project) })
		}
		group.Go(func() { reads.sql(ctx, t, o) })
		for range 6 {
			o.recount(t)
			o.recount(t, 1, 2)
		}
		stop()
		group.Wait()
		reads.explained(t, o)
		o.quiesceReal(t, 1, 2, 3)
	})
}

// loadAbove is load for artifacts with ids above zero: those below stay.
func (s *counterSite) loadAbove(ctx context.Context, t *testing.T, group *sync.WaitGroup) {
	t.Helper()
	group.Go(func() {
		for n := int64(1); ctx.Err() == nil; n++ {
			for _, change := range []string{
				"INSERT INTO artifacts SELECT $1 * 10 + i, 1 + i % 3, 100 + $1 % 7 FROM generate_series(0, 8) AS i",
				"UPDATE artifacts SET size = size + 1 WHERE id > 0 AND id % 11 = $1 % 11",
				"DELETE FROM artifacts WHERE id > 0 AND (id < $1 * 10 - 100 OR id % 7 = $1 % 7)",
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

// r31Read is a value, and the position that it was told to be of.
type r31Read struct {
	project     string
	size, items int64
	at          eventlog.Position
}

// r31Reads are all different ones.
//
// mu guards the rest.
type r31Reads struct {
	mu    sync.Mutex
	reads map[r31Read]bool
}

func (r *r31Reads) add(t *testing.T, read r31Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if read.size < 5000 {
		t.Errorf("project %s: read %d", read.project, read.size)
	}
	if r.reads == nil {
		r.reads = map[r31Read]bool{}
	}
	r.reads[read] = true
}

func (r *r31Reads) live(ctx context.Context, t *testing.T, o *ours, project int64) {
	for ctx.Err() == nil {
		v, err := o.counters.Get(ctx, scope(project))
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("read project %d: %v", project, err)
			}
			return
		}
		r.add(t, r31Read{strconv.FormatInt(project, 10), v.Size.Int64(), v.Items, v.AsOf})
		breathe(ctx)
	}
}

func (r *r31Reads) sql(ctx context.Context, t *testing.T, o *ours) {
	for ctx.Err() == nil {
		rows, err := o.pool.Query(ctx, `SELECT s.scope_id, s.size::bigint, s.items, p.tick, p.to_tick, p.page
			FROM casq.statistics AS s JOIN casq.counters AS c USING (kind, scope_id) JOIN casq.counter_shards AS p USING (shard)
			WHERE s.scope_id IN ('1', '2', '3')`)
		if err == nil {
			var read r31Read
			_, err = pgx.ForEachRow(rows, []any{&read.project, &read.size, &read.items, &read.at.Tick, &read.at.ToTick, &read.at.Page}, func() error {
				r.add(t, read)
				return nil
			})
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("read by SQL: %v", err)
		}
		breathe(ctx)
	}
}

// explained compares every read with the events up to its position.
func (r *r31Reads) explained(t *testing.T, o *ours) {
	t.Helper()
	if len(r.reads) < 20 {
		t.Errorf("only %d different reads", len(r.reads))
	}
	for read := range r.reads {
		var size, items int64
		err := o.pool.QueryRow(t.Context(), `SELECT coalesce(sum(e.size_delta), 0)::bigint, coalesce(sum(e.item_delta), 0)::bigint
			FROM casq.events AS e
			JOIN casq.ticks AS at ON at.id = $2
			LEFT JOIN casq.ticks AS next ON next.id = $3 AND $3 > 0
			WHERE e.scope_id = $1 AND (pg_visible_in_snapshot(e.xid, at.snapshot)
				OR pg_visible_in_snapshot(e.xid, next.snapshot) AND e.id <= $4)`,
			read.project, read.at.Tick, read.at.ToTick, read.at.Page).Scan(&size, &items)
		must(t, err)
		if size != read.size || items != read.items {
			t.Errorf("project %s at %s: read %d bytes and %d items, the events up to there make %d and %d",
				read.project, read.at, read.size, read.items, size, items)
		}
	}
}
