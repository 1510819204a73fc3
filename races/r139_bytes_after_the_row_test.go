package races

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"casq/registry"
)

// TestR139BytesAfterTheRow: refs are pushed after the row's commit, and no row tells.
//
// A repository is in place. A worker probes it: it has read the source's refs, which are
// those of the copy, and is frozen before it says so. Another commit is pushed, with no
// row. The worker goes on. What it says now is of before the push: the row must not be
// called compared at a time after it, until the commit is in place; and that it is within
// the next rounds, as changed without an event.
func TestR139BytesAfterTheRow(t *testing.T) {
	t.Parallel()
	for name, naive := range map[string]bool{"twin/compared when it is written": true, "ours": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if naive {
				s.exec(t, `CREATE FUNCTION public.say_now() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.compared_at := clock_timestamp(); RETURN NEW; END $$`)
				s.exec(t, `CREATE TRIGGER say_now BEFORE UPDATE OF compared_at ON casq.registry FOR EACH ROW EXECUTE FUNCTION public.say_now()`)
			}
			s.follow(t)
			w := startWorker(t, s.spec("probe:read", syscall.SIGSTOP))
			const key = "a.git"
			s.push(t, key, "one", "")
			s.untilSynced(t, repositoryKind, key)
			pace := time.Second
			if _, err := registry.SetKind(t.Context(), s.pool, repositoryKind, registry.KindOptions{Probe: &pace}); err != nil {
				t.Fatal(err)
			}
			w.frozen(t)
			dir := filepath.Join(s.repositories, key)
			commit := runGit(t, dir, "", "commit-tree", "-m", "two", "-p", "main", "main^{tree}")
			runGit(t, dir, "", "update-ref", "refs/heads/main", commit)
			s.exec(t, "CREATE TABLE pushed AS SELECT clock_timestamp() AS at")
			w.thaw(t)
			s.until(t, "the commit is in place, or the row is wrong", func() bool {
				compared := s.count(t, "SELECT count(*) FROM casq.registry_status, pushed WHERE resource_id = $1 AND compared_at > pushed.at", key) > 0
				inPlace := runGit(t, filepath.Join(s.repositoryTarget, key), "", "rev-parse", "main") == commit
				if compared && !inPlace && !naive {
					t.Error("it is called compared after the push, and lacks the commit")
				}
				return inPlace && !naive || compared && !inPlace && naive
			})
			if naive {
				return
			}
			s.untilSynced(t, repositoryKind, key)
			if s.count(t, "SELECT count(*) FROM casq.registry WHERE resource_id = $1 AND probed_version = version", key) != 1 {
				t.Error("it is not told that it had changed without an event")
			}
			s.until(t, "it is compared", func() bool {
				return s.count(t, "SELECT count(*) FROM casq.registry_status, pushed WHERE resource_id = $1 AND compared_at > pushed.at", key) > 0
			})
			s.wantRepository(t, key)
		})
	}
}
