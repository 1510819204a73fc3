package races

import (
	"fmt"
	"testing"

	"casq/internal/worker"
)

// r14Resources is how many resources fail; r14Workers how many are tried at once.
const (
	r14Resources = 1000
	r14Workers   = 10
)

// TestR14HeadOfLine: a thousand resources always fail, and one that comes after
// them works. If the oldest one that is not done is always next, the one is never
// reached.
func TestR14HeadOfLine(t *testing.T) {
	t.Parallel()
	t.Run("twin/the oldest first", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		s.naive(t)
		execute(t, s.pool, fmt.Sprintf(`ALTER TABLE naive ADD id bigint GENERATED ALWAYS AS IDENTITY, ADD tries int NOT NULL DEFAULT 0;
			INSERT INTO naive (key, status) SELECT 'bad' || i, 'pending' FROM generate_series(1, %d) AS i;
			INSERT INTO naive (key, status) VALUES ('good', 'pending')`, r14Resources))
		for range 2 * r14Resources / r14Workers {
			execute(t, s.pool, fmt.Sprintf(`UPDATE naive SET tries = tries + 1, status = CASE WHEN key = 'good' THEN 'synced' ELSE 'failed' END
				WHERE id IN (SELECT id FROM naive WHERE status <> 'synced' ORDER BY id LIMIT %d)`, r14Workers))
		}
		if got := lines(t, s.pool, `SELECT tries::text FROM naive WHERE key = 'good'`); got != "0" {
			t.Errorf("the good one was tried %s times; want never, for that is what goes wrong", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		s.work(t, points, func(c *worker.Config) { c.Concurrency = r14Workers })
		// Half of them are not there, the others are not what was told.
		for i := range r14Resources / 2 {
			s.writeAs(t, fmt.Sprintf("bad/%d", 2*i), "x")
		}
		execute(t, s.pool, fmt.Sprintf(`INSERT INTO artifacts (path, size, sha256)
			SELECT 'bad/' || i, 1, repeat('0', 64) FROM generate_series(0, %d - 1) AS i`, r14Resources))
		s.until(t, "the first failures", func() bool {
			return s.number(t, `SELECT count(*) FROM casq.registry WHERE failed_version IS NOT NULL`) > r14Workers
		})
		done := func() bool {
			return s.number(t, `SELECT count(*) FROM casq.registry_status WHERE status = 'synced'`) == 1
		}
		s.put(t, "good")
		s.until(t, "the good one", done)
		if s.inPlace(t) != "good" {
			t.Error("the bytes are not in place")
		}
		// All of them fail, again and again; and the next one does not wait either.
		s.until(t, "everybody's second failure", func() bool {
			return s.number(t, `SELECT count(*) FROM casq.registry WHERE attempts > 1 AND failed_version = version`) == r14Resources
		})
		if n := s.number(t, `SELECT count(*) FROM casq.registry WHERE missing_since IS NOT NULL`); n != r14Resources/2 {
			t.Errorf("%d are missing, want %d", n, r14Resources/2)
		}
		version := s.number(t, `SELECT version FROM casq.registry WHERE synced_version = version`)
		s.put(t, "better")
		s.until(t, "the better one", func() bool {
			return done() && s.inPlace(t) == "better" && s.number(t, `SELECT max(synced_version) FROM casq.registry`) > version
		})
		if n := s.number(t, `SELECT count(*) FROM casq.registry WHERE synced_version = version AND attempts = 1`); n != 1 {
			t.Error("the good one was tried more than once")
		}
	})
}
