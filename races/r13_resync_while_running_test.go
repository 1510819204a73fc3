package races

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"casq/internal/worker"
	"casq/jobs"
	"casq/registry"
)

// r13Resources is how many resources are resynced at once.
const r13Resources = 20

// TestR13ResyncWhileRunning: an operator resyncs everything while jobs run. He
// has a reason: what is copied now may be what he wants replaced. Whoever is
// skipped because a run has it keeps the old bytes; whoever is started beside
// that run copies into the same place. Each has to run again, once, after it.
func TestR13ResyncWhileRunning(t *testing.T) {
	t.Parallel()
	t.Run("twin/skip what runs", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "broken")
		n.event(t)
		n.start(t)
		copied := n.copy(t)
		s.write(t, "repaired")
		execute(t, s.pool, `UPDATE naive SET status = 'pending' WHERE status <> 'started'`)
		n.publish(t, copied)
		n.end(t)
		if n.status(t) != "synced" || s.inPlace(t) != "broken" {
			t.Errorf("%s with %q; want synced with the broken bytes, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("twin/start beside what runs", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "broken")
		n.event(t)
		n.start(t)
		copied := n.copy(t)
		s.write(t, "repaired")
		execute(t, s.pool, `UPDATE naive SET status = 'pending', leased = false`)
		if !n.start(t) {
			t.Fatal("the second run did not begin")
		}
		n.publish(t, n.copy(t))
		n.end(t)
		n.publish(t, copied)
		n.end(t)
		if n.status(t) != "synced" || s.inPlace(t) != "broken" {
			t.Errorf("%s with %q; want synced with the broken bytes, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		var begun, copied atomic.Int64
		gate := make(chan struct{})
		points := newPoints()
		hook := func(point string) {
			switch point {
			case "begin:made":
				begun.Add(1)
				<-gate
			case "copy:staged":
				copied.Add(1)
			}
		}
		for range 2 {
			s.work(t, points, func(c *worker.Config) { c.Hook = hook })
		}
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		s.putMany(t, "broken..")
		s.until(t, "all runs", func() bool { return begun.Load() == r13Resources })
		for i := range r13Resources {
			s.writeAs(t, r13Key(i), "repaired")
		}
		execute(t, s.pool, `UPDATE artifacts SET sha256 = encode(sha256('repaired'), 'hex')`)
		s.until(t, "the repair's jobs", func() bool { return s.asked(t) == r13Resources })
		s.resyncAll(t)
		s.until(t, "the operator's jobs", func() bool { return s.underWay(t) == r13Resources })
		if n := begun.Load(); n != r13Resources {
			t.Errorf("%d runs have begun, want %d: a place has two", n, r13Resources)
		}
		open()
		s.until(t, "all in place", func() bool {
			if staged := s.doubles(t); staged != "" {
				t.Errorf("two copies at once into %s", staged)
			}
			return lines(t, s.pool, `SELECT count(*)::text FROM casq.registry WHERE synced_version = version`) == fmt.Sprint(r13Resources)
		})
		for i := range r13Resources {
			if got := s.files(t)[r13Key(i)]; got != "repaired" {
				t.Errorf("%s is %q", r13Key(i), got)
			}
		}
		// The first runs have found that the source is another, and copied nothing.
		if n := begun.Load(); n != 2*r13Resources || copied.Load() != r13Resources {
			t.Errorf("%d runs, %d copies; want each to run again once", n, copied.Load())
		}
	})
}

func r13Key(i int) string { return fmt.Sprintf("many/%d", i) }

func (s *registrySite) writeAs(t *testing.T, path, content string) {
	t.Helper()
	file := filepath.Join(s.source, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// putMany makes many files with one content, and their rows.
func (s *registrySite) putMany(t *testing.T, content string) {
	t.Helper()
	for i := range r13Resources {
		s.writeAs(t, r13Key(i), content)
	}
	_, err := s.pool.Exec(t.Context(), `INSERT INTO artifacts (path, size, sha256)
		SELECT 'many/' || i, length($1), encode(sha256($1::text::bytea), 'hex') FROM generate_series(0, $2::int - 1) AS i`, content, r13Resources)
	if err != nil {
		t.Fatal(err)
	}
}

func (s *registrySite) number(t *testing.T, sql string) (n int) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *registrySite) asked(t *testing.T) int {
	t.Helper()
	return s.number(t, `SELECT count(*) FROM casq.registry WHERE asked`)
}

// underWay is how many jobs have not ended.
func (s *registrySite) underWay(t *testing.T) int {
	t.Helper()
	return s.number(t, `SELECT count(*) FROM river.river_job WHERE finalized_at IS NULL`)
}

func (s *registrySite) resyncAll(t *testing.T) {
	t.Helper()
	queue, err := jobs.NewQueue(s.pool, raceLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.ResyncKind(t.Context(), s.pool, queue, "artifact", registry.ResyncOptions{}); err != nil {
		t.Fatal(err)
	}
}

// doubles returns a resource that two runs have staged bytes for; "" if there is
// none.
func (s *registrySite) doubles(t *testing.T) string {
	t.Helper()
	staged, err := filepath.Glob(filepath.Join(s.target, ".casq", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, path := range staged {
		resource, _, _ := strings.Cut(filepath.Base(path), ".")
		if seen[resource] {
			return resource
		}
		seen[resource] = true
	}
	return ""
}
