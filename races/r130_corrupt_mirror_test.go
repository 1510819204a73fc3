package races

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"casq/jobs"
	"casq/registry"
	"casq/transfer"
	"casq/transfer/git"
)

// r130Damages are what a disk does to a mirror: its refs stay right.
var r130Damages = map[string]func(t *testing.T, mirror string){
	"a byte of a pack": func(t *testing.T, mirror string) {
		pack := r130Pack(t, mirror)
		content, err := os.ReadFile(pack)
		if err == nil {
			err = os.Chmod(pack, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 0xff // within the blob, which is nearly all of it
		if err := os.WriteFile(pack, content, 0o444); err != nil {
			t.Fatal(err)
		}
	},
	"an object less": func(t *testing.T, mirror string) {
		pack := r130Pack(t, mirror)
		content, err := os.ReadFile(pack)
		if err == nil {
			err = errors.Join(os.Remove(pack), os.Remove(strings.TrimSuffix(pack, ".pack")+".idx"))
		}
		if err != nil {
			t.Fatal(err)
		}
		runGit(t, mirror, string(content), "unpack-objects", "-q")
		blob := runGit(t, mirror, "", "rev-parse", "refs/tags/first:file")
		if err := os.Remove(filepath.Join(mirror, "objects", blob[:2], blob[2:])); err != nil {
			t.Fatal(err)
		}
	},
}

// r130Pack is the only pack of a mirror.
func r130Pack(t *testing.T, mirror string) string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(mirror, "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	return packs[0]
}

// TestR130CorruptMirror: a mirror is damaged on its disk; verification finds it.
//
// A repair that is a new version like any other fetches what differs from the
// source, and no ref differs. So it succeeds, and brings back nothing; and as it has
// published, the row says that what is in place was compared a moment ago. Nobody
// can clone the mirror, and it is not even looked at any more.
func TestR130CorruptMirror(t *testing.T) {
	t.Parallel()
	for name, damage := range r130Damages {
		t.Run("twin/repaired by an update/"+name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			repositories, err := git.Open(t.Context(), git.Config{
				SourceURL: s.repositories, TargetDir: s.repositoryTarget,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = repositories.Close() })
			s.pushLarge(t, "a")
			publishRun(t, beginAndCopy(t, repositories.Begin))
			damage(t, filepath.Join(s.repositoryTarget, "a"))
			for range 3 {
				if err := repositories.Verify(t.Context(), transfer.Place{Key: "a"}, nil, ""); !errors.Is(err, transfer.ErrMismatch) {
					t.Fatalf("verification found %v", err)
				}
				publishRun(t, beginAndCopy(t, repositories.Begin))
			}
			if s.canBeCloned(t, "a") {
				t.Error("the mirror can be cloned; that an update does not repair it is what goes wrong")
			}
		})
	}
	t.Run("twin/compared by a publication", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.follow(t)
		s.pushLarge(t, theRepository)
		s.takeOver(t, false, func() { s.untilSynced(t, repositoryKind, theRepository) })
		r130Damages["a byte of a pack"](t, filepath.Join(s.repositoryTarget, theRepository))
		s.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
		if n := s.verifyRepositories(t, time.Hour); n != 1 {
			t.Fatalf("%d are to be compared", n)
		}
		s.exec(t, "UPDATE casq.registry SET verified_at = clock_timestamp()") // as for what was copied as a whole
		if n := s.verifyRepositories(t, time.Hour); n != 0 || s.canBeCloned(t, theRepository) {
			t.Errorf("%d are to be compared; that the damage is looked for no more is what goes wrong", n)
		}
	})
	for name, damage := range r130Damages {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.damaged(t, damage)
			s.takeOver(t, false, func() {
				s.repaired(t, func() { s.verifyRepositories(t, 0) })
			})
			s.wantRepository(t, theRepository)
			if n := s.count(t, "SELECT count(*) FROM casq.registry WHERE verified_at > '2000-01-01'"); n != 1 {
				t.Error("the row does not tell when the new clone was made")
			}
		})
		// What the damage asks for must outlive the run that was to bring it.
		t.Run("ours/killed, then pushed to/"+name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.damaged(t, damage)
			s.verifyRepositories(t, 0)
			startWorker(t, s.spec("copy:staged", syscall.SIGKILL)).killed(t)
			s.push(t, theRepository, "pushed meanwhile", "")
			s.takeOver(t, false, func() { s.repaired(t, func() {}) })
			s.wantRepository(t, theRepository)
		})
	}
}

// damaged has a repository in place, damages it, and has it updated once more
// by a push: the row must not say that anybody has compared it.
func (s *site) damaged(t *testing.T, damage func(*testing.T, string)) {
	t.Helper()
	s.follow(t)
	s.pushLarge(t, theRepository)
	s.takeOver(t, false, func() {
		s.untilSynced(t, repositoryKind, theRepository)
		damage(t, filepath.Join(s.repositoryTarget, theRepository))
		s.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
		s.changed(t, repositoryKind, theRepository, func() { s.push(t, theRepository, "an update", "") })
		s.untilSynced(t, repositoryKind, theRepository)
	})
	if n := s.count(t, "SELECT count(*) FROM casq.registry WHERE verified_at > '2000-01-01'"); n != 0 {
		t.Error("the row says that it was compared, and somebody has only pushed")
	}
	if s.canBeCloned(t, theRepository) {
		t.Fatal("the damage does no harm")
	}
}

// repaired waits until the mirror can be cloned and its row says so.
func (s *site) repaired(t *testing.T, begin func()) {
	t.Helper()
	begin()
	s.until(t, "the mirror is repaired", func() bool {
		return s.status(t, repositoryKind, theRepository) == "synced" && s.canBeCloned(t, theRepository)
	})
}

// pushLarge pushes a commit that nothing but a tag keeps later, with a blob that
// does not compress.
func (s *site) pushLarge(t *testing.T, key string) {
	t.Helper()
	content := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{130}).Read(content)
	s.push(t, key, "empty", "")
	dir := filepath.Join(s.repositories, key)
	blob := runGit(t, dir, string(content), "hash-object", "-w", "--stdin")
	tree := runGit(t, dir, "100644 blob "+blob+"\tfile\n", "mktree")
	commit := runGit(t, dir, "", "commit-tree", "-m", "large", tree)
	runGit(t, dir, "", "update-ref", "refs/tags/first", commit)
	s.push(t, key, "", commit)
}

func (s *site) canBeCloned(t *testing.T, key string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), takeoverPatience)
	defer cancel()
	clone := exec.CommandContext(ctx, "git", "clone", "--quiet", "--mirror", "file://"+filepath.Join(s.repositoryTarget, key), t.TempDir()+"/clone")
	return clone.Run() == nil
}

// verifyRepositories asks for the repositories that were not compared for a
// while, as an operator does.
func (s *site) verifyRepositories(t *testing.T, olderThan time.Duration) int {
	t.Helper()
	queue, err := jobs.NewQueue(s.pool, raceLog(t))
	if err != nil {
		t.Fatal(err)
	}
	n, err := registry.VerifyKind(t.Context(), s.pool, queue, repositoryKind, registry.VerifyOptions{OlderThan: olderThan, DryRun: olderThan > 0})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
