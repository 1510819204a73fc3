package races

import (
	"encoding/json"
	"syscall"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/file"
	"casq/transfer/git"

	"github.com/google/uuid"
)

// TestR03DeleteRecreate: a file is deleted and created again under a frozen job.
//
// A worker has copied the first incarnation's bytes to its staging and is stopped. The
// row is deleted and another one is inserted under the same path, once in two
// batches of the log and once in one, where the delete is never carried out.
// Another worker copies the second incarnation. When the first goes on, it holds a
// good copy of a resource that does not exist any more, and must not publish it.
func TestR03DeleteRecreate(t *testing.T) {
	t.Parallel()
	t.Run("twin/staging_left_alone", func(t *testing.T) {
		t.Parallel()
		twinRecreatedFile(t)
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		t.Run("two_batches", func(t *testing.T) {
			t.Parallel()
			playRecreatedFile(t, false)
		})
		t.Run("one_batch", func(t *testing.T) {
			t.Parallel()
			playRecreatedFile(t, true)
		})
	})
}

func playRecreatedFile(t *testing.T, oneBatch bool) {
	t.Helper()
	const key = "a/file"
	s := newSite(t)
	stop := s.follow(t)
	s.put(t, key, "first incarnation")
	frozen := startWorker(t, s.spec("copy:staged", syscall.SIGSTOP))
	frozen.frozen(t)

	s.recreate(t, stop, oneBatch, fileKind, key, func() { s.remove(t, key) }, func() { s.put(t, key, "second") })
	s.takeOver(t, false, func() { s.untilSynced(t, fileKind, key) })
	frozen.thaw(t)
	frozen.stop(t)
	s.wantFiles(t, map[string]string{key: "second"})
	if got := s.status(t, fileKind, key); got != "synced" {
		t.Errorf("the row is %s after the thaw, want synced", got)
	}
}

// recreate deletes a resource and creates another one under its key, so that the
// log is read between the two, or only after both.
func (s *site) recreate(t *testing.T, stopFollowing func(), oneBatch bool, kind, key string, remove, create func()) {
	t.Helper()
	if !oneBatch {
		s.changed(t, kind, key, remove)
		s.changed(t, kind, key, create)
		return
	}
	before := s.version(t, kind, key)
	stopFollowing()
	// A tick that was given up may still be on its way in the server.
	s.until(t, "nobody ticks", func() bool {
		return s.count(t, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()`) == 0
	})
	remove()
	create()
	s.follow(t)
	s.until(t, key+" has a new version", func() bool { return s.version(t, kind, key) > before })
	if n := s.count(t, "SELECT count(*) FROM river.river_job WHERE kind = 'casq_remove'"); n != 0 {
		t.Errorf("%d removals were queued: the batch was not one", n)
	}
}

// twinRecreatedFile is two runs, of which the second leaves the first one's
// staging alone.
func twinRecreatedFile(t *testing.T) {
	t.Helper()
	s := newSite(t)
	source, err := file.OpenSource(s.files, raceLog(t))
	if err != nil {
		t.Fatal(err)
	}
	files, err := file.Open(file.Config{Source: source, Target: s.fileTarget})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	s.put(t, "a", "first incarnation")
	begin := transfertest.Unfenced(s.fileTarget, files.Begin)
	first := beginAndCopy(t, begin)
	s.remove(t, "a")
	s.put(t, "a", "second")
	publishRun(t, beginAndCopy(t, begin))
	publishRun(t, first)
	if got := s.file(t, "a"); got != "first incarnation" {
		t.Errorf("in place is %q: the late run did no harm", got)
	}
}

// beginAndCopy begins a run on "a" that knows of no earlier incarnation.
func beginAndCopy(t *testing.T, begin transfertest.BeginFunc) transfer.Run {
	t.Helper()
	run, err := begin(t.Context(), transfer.Place{Key: "a", Claim: uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Close() })
	if _, err := run.Copy(t.Context(), json.RawMessage("{}")); err != nil {
		t.Fatal(err)
	}
	return run
}

func publishRun(t *testing.T, run transfer.Run) {
	t.Helper()
	if err := run.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestR03DeleteRecreateRepository: the same happens to a repository that is in place.
//
// Here the place itself remembers: a fetch into what is there would make the
// second incarnation's refs right and leave the first incarnation's objects, deleted by
// their owner, readable below them. The row's incarnation tells that what is
// in place is another repository, also when the delete was never carried out,
// and the copy is a new clone that is exchanged for it.
func TestR03DeleteRecreateRepository(t *testing.T) {
	t.Parallel()
	t.Run("twin/no_incarnation", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		repositories, err := git.Open(t.Context(), git.Config{
			SourceURL: s.repositories, TargetDir: s.repositoryTarget,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = repositories.Close() })
		old := s.push(t, "a", "first incarnation", "")
		publishRun(t, beginAndCopy(t, repositories.Begin))
		s.drop(t, "a")
		s.push(t, "a", "second incarnation", "")
		publishRun(t, beginAndCopy(t, repositories.Begin))
		s.wantRepository(t, "a")
		if !s.hasObject(t, "a", old) {
			t.Error("the first incarnation's commit is gone: the fetch into its repository did no harm")
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		t.Run("two_batches", func(t *testing.T) {
			t.Parallel()
			playRecreatedRepository(t, false)
		})
		t.Run("one_batch", func(t *testing.T) {
			t.Parallel()
			playRecreatedRepository(t, true)
		})
	})
}

func playRecreatedRepository(t *testing.T, oneBatch bool) {
	t.Helper()
	const key = "a/repo"
	s := newSite(t)
	stop := s.follow(t)
	old := s.push(t, key, "first incarnation", "")
	s.takeOver(t, false, func() { s.untilSynced(t, repositoryKind, key) })
	var older string
	s.changed(t, repositoryKind, key, func() { older = s.push(t, key, "first incarnation goes on", "") })
	frozen := startWorker(t, s.spec("copy:staged", syscall.SIGSTOP))
	frozen.frozen(t)

	s.recreate(t, stop, oneBatch, repositoryKind, key, func() { s.drop(t, key) }, func() { s.push(t, key, "second incarnation", "") })
	s.takeOver(t, false, func() { s.untilSynced(t, repositoryKind, key) })
	frozen.thaw(t)
	frozen.stop(t)
	s.wantRepository(t, key)
	for _, commit := range []string{old, older} {
		if s.hasObject(t, key, commit) {
			t.Errorf("commit %s of the first incarnation is in the second one's repository", commit)
		}
	}
	wantNoStaging(t, s.repositoryTarget)
}
