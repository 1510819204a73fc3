package races

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestR89TwoFirstStarts: two cursors of one name start at once on an empty
// database, and neither finds a position. Where each makes up its own, the
// second puts the position back after the first has applied a batch, or puts it
// beyond an event that nobody has applied. There must be one position, and
// nothing skipped.
func TestR89TwoFirstStarts(t *testing.T) {
	t.Parallel()
	t.Run("twin/each starts with the oldest tick", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		s.tick(t)
		one, two := newR89Naive(t, s, "min"), newR89Naive(t, s, "min")
		s.write(t, "a")
		s.tick(t)
		one.save(t)
		one.batch(t)
		two.save(t)
		two.batch(t)
		wantResources(t, s.applied(t), "a", "a")
	})
	t.Run("twin/each starts with the newest tick", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		s.tick(t)
		one := newR89Naive(t, s, "max")
		s.write(t, "a")
		s.tick(t)
		two := newR89Naive(t, s, "max")
		one.save(t)
		two.save(t)
		one.batch(t)
		two.batch(t)
		wantResources(t, s.applied(t)) // and never "a"
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newLogSite(t)
		// One has found no position, and where to start, and writes it down
		// only when the others have long begun. There is no lease that keeps
		// them apart.
		cfg := s.config(t)
		found, goOn := make(chan struct{}), make(chan struct{})
		first := true
		cfg.Hook = func(point string) {
			if point == "start:found" && first {
				first = false
				close(found)
				<-goOn
			}
		}
		follow(t, cfg)
		s.write(t, "a")
		s.tick(t)
		select {
		case <-found:
		case <-time.After(time.Minute):
			t.Fatal("the first cursor has found no start")
		}
		for range 4 {
			follow(t, s.config(t))
		}
		s.wantApplied(t, "a")
		close(goOn)
		s.write(t, "b", "c")
		s.tick(t)
		s.wantApplied(t, "a", "b", "c")
		if n := lines(t, s.pool, "SELECT count(*)::text FROM casq.cursors"); n != "1" {
			t.Errorf("%s positions, want 1", n)
		}
	})
}

// r89Naive is a cursor whose first start is a look and then a write.
type r89Naive struct {
	s    *logSite
	tick int64
}

// newR89Naive finds no position, and where to start.
func newR89Naive(t *testing.T, s *logSite, start string) *r89Naive {
	t.Helper()
	execute(t, s.pool, "CREATE TABLE IF NOT EXISTS naive_cursor (name text PRIMARY KEY, tick bigint)")
	n := &r89Naive{s: s}
	if err := s.pool.QueryRow(t.Context(), "SELECT "+start+"(id) FROM casq.ticks").Scan(&n.tick); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *r89Naive) save(t *testing.T) {
	t.Helper()
	_, err := n.s.pool.Exec(t.Context(), `INSERT INTO naive_cursor VALUES ('race', $1)
		ON CONFLICT (name) DO UPDATE SET tick = EXCLUDED.tick`, n.tick)
	if err != nil {
		t.Fatal(err)
	}
}

// batch applies what came since the stored position, in one transaction.
func (n *r89Naive) batch(t *testing.T) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), n.s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `WITH newest AS (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1),
			moved AS (
				UPDATE naive_cursor AS c SET tick = newest.id
				FROM newest, naive_cursor AS old JOIN casq.ticks AS mine ON mine.id = old.tick
				WHERE c.name = 'race' AND old.name = c.name
				RETURNING mine.snapshot AS older, newest.snapshot AS newer
			)
			INSERT INTO applied (id, resource) SELECT e.id, e.resource_id FROM casq.events AS e, moved
			WHERE NOT pg_visible_in_snapshot(e.xid, older) AND pg_visible_in_snapshot(e.xid, newer)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
