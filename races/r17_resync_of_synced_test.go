package races

import (
	"os"
	"path/filepath"
	"testing"

	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// TestR17ResyncOfWhatIsSynced: the bytes in place are damaged, and the row says
// "synced". An operator asks for the resource again, and once more while that runs,
// since the damage was found to go on. If "synced" means that there is nothing to
// do, or a job under way means that none is needed, his wish is dropped without
// a word. It has to be a version like any other.
func TestR17ResyncOfWhatIsSynced(t *testing.T) {
	t.Parallel()
	t.Run("twin/nothing to do", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "first")
		n.event(t)
		n.start(t)
		n.publish(t, n.copy(t))
		n.end(t)
		s.damage(t)
		execute(t, s.pool, `UPDATE naive SET status = 'pending' WHERE status <> 'synced'`)
		if n.status(t) == "pending" {
			n.publish(t, n.copy(t))
		}
		if n.status(t) != "synced" || s.inPlace(t) != "damaged" {
			t.Errorf("%s with %q; want the damage to stay, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("twin/unique job", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "first")
		n.event(t)
		n.start(t)
		n.publish(t, n.copy(t))
		n.end(t)
		if s.askUnique(t) {
			t.Fatal("the first wish was skipped")
		}
		n.start(t)
		n.publish(t, n.copy(t))
		s.damage(t)
		if !s.askUnique(t) {
			t.Error("the second wish was not skipped; that is what goes wrong")
		}
		n.end(t)
		if n.status(t) != "synced" || s.inPlace(t) != "damaged" {
			t.Errorf("%s with %q; want the damage to stay, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		s.work(t, points)
		s.put(t, "first")
		s.reaches(t, "synced", "first")
		first := s.row(t)

		s.damage(t)
		renamed := points.stopAt("publish:renamed")
		second := s.resync(t)
		renamed.wait(t)
		s.damage(t)
		third := make(chan int64, 1)
		go func() { third <- s.resync(t) }() // waits for the row, which the job has locked
		s.until(t, "the wait of the second wish", func() bool {
			return lines(t, s.pool, `SELECT count(*)::text FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '-- casq: registry/resync.%'`) == "1"
		})
		renamed.release()
		newest := <-third
		s.reaches(t, "synced", "first")
		row := s.row(t)
		if first.Version >= second || second >= newest || row.Version != newest || *row.Synced != newest {
			t.Errorf("versions %d, %d, %d; the row is %+v", first.Version, second, newest, row)
		}
		if n := points.count("copy:staged"); n != 3 {
			t.Errorf("copied %d times, want 3", n)
		}
	})
	t.Run("ours/while it copies", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		s.work(t, points)
		s.put(t, "first")
		s.reaches(t, "synced", "first")
		s.damage(t)
		copied := points.stopAt("copy:staged")
		s.resync(t)
		copied.wait(t)
		newest := s.resync(t)
		s.until(t, "the second wish's job", func() bool { return s.row(t).Asked })
		copied.release()
		s.reaches(t, "synced", "first")
		if row := s.row(t); row.Version != newest || points.count("copy:staged") != 3 {
			t.Errorf("copied %d times, want 3; the row is %+v", points.count("copy:staged"), row)
		}
	})
}

func (s *registrySite) damage(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.target, key), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// resync is the operator's wish; it returns the new version.
func (s *registrySite) resync(t *testing.T) int64 {
	queue, err := jobs.NewQueue(s.pool, raceLog(t))
	if err != nil {
		t.Error(err)
		return 0
	}
	version, err := registry.ResyncOne(t.Context(), s.pool, queue, "artifact", key, false)
	if err != nil {
		t.Error(err)
	}
	return version
}

// uniqueArgs are those of a job that is inserted once per resource.
type uniqueArgs struct {
	Key string `json:"key"`
}

func (uniqueArgs) Kind() string { return "unique" }

// askUnique is the wish as a unique job, which runs at once; true: there was one
// already, so it was skipped.
func (s *registrySite) askUnique(t *testing.T) (skipped bool) {
	t.Helper()
	client, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{Schema: jobs.Schema, Logger: raceLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		result, err := client.InsertTx(t.Context(), tx, uniqueArgs{key}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
		if err == nil {
			skipped = result.UniqueSkippedAsDuplicate
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, s.pool, `UPDATE river.river_job SET state = 'running' WHERE kind = 'unique'`)
	return skipped
}
