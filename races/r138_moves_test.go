package races

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// movingSite has files and repositories that get other keys. Their contents tell them
// apart.
type movingSite struct {
	*site
	lives []string // what each that lives can be told by: its bytes, or its commit
	leave func()   // ends what follows the log from here
}

// newMovingSite has all in place under the old keys. named says whether the two events of
// a rename name each other; otherwise they are those of a delete and of a create.
func newMovingSite(t *testing.T, named bool) *movingSite {
	t.Helper()
	return moveIn(t, newSite(t), named)
}

func moveIn(t *testing.T, s *site, named bool) *movingSite {
	t.Helper()
	m := &movingSite{site: s}
	if named {
		m.exec(t, `SELECT casq.untrack('artifacts'), casq.untrack('repositories')`)
		m.exec(t, `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', prefix => '', key_column => 'path', id_column => 'id',
			scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256'])`)
		m.exec(t, `SELECT casq.track('repositories', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path', id_column => 'id')`)
	}
	m.leave = m.follow(t)
	for _, key := range []string{"plain/a", "swap/a", "swap/b", "deleted/a", "deleted/b", "anew/a", "chain/a"} {
		m.put(t, key, "bytes of "+key)
		commit := m.push(t, key, "bytes of "+key, "")
		if key != "deleted/b" {
			m.lives = append(m.lives, "bytes of "+key, commit)
		}
	}
	m.takeOver(t, false, func() { m.untilDone(t) })
	return m
}

// untilDone waits until all that was asked for is in place, or gone.
func (m *movingSite) untilDone(t *testing.T) {
	t.Helper()
	m.until(t, "all is done", func() bool {
		return m.count(t, "SELECT count(*) FROM casq.registry_status WHERE status NOT IN ('synced', 'removed')") == 0 &&
			m.count(t, "SELECT (SELECT count(*) FROM artifacts) + (SELECT count(*) FROM repositories)") == m.count(t, "SELECT count(*) FROM casq.registry_status WHERE status = 'synced'")
	})
}

// move gives all of them other keys, in one transaction: one that is free; two exchange
// theirs; one that was deleted just before, whose copy is still in place; one whose old key
// another one gets; and two after each other.
func (m *movingSite) move(t *testing.T) {
	t.Helper()
	for _, folder := range []string{m.files, m.repositories} {
		at := func(key string) string { return filepath.Join(folder, key) }
		if err := os.RemoveAll(at("deleted/b")); err != nil {
			t.Fatal(err)
		}
		for _, step := range [][2]string{
			{"plain/a", "plain/b"}, {"swap/a", "swap/x"}, {"swap/b", "swap/a"}, {"swap/x", "swap/b"},
			{"deleted/a", "deleted/b"}, {"anew/a", "anew/b"}, {"chain/a", "chain/c"},
		} {
			if err := os.Rename(at(step[0]), at(step[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	const other = "another one"
	if err := os.WriteFile(filepath.Join(m.files, "anew", "a"), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(m.repositories, "anew", "a")
	runGit(t, m.repositories, "", "init", "--quiet", "--bare", "--initial-branch=main", source)
	tree := runGit(t, source, "", "mktree")
	runGit(t, source, "", "update-ref", "refs/heads/main", runGit(t, source, "", "commit-tree", "-m", other, tree))
	renames := func(table, created string) string {
		return strings.ReplaceAll(`DELETE FROM $table WHERE path = 'deleted/b';
			UPDATE $table SET path = 'plain/b' WHERE path = 'plain/a';
			UPDATE $table SET path = 'swap/x' WHERE path = 'swap/a'; UPDATE $table SET path = 'swap/a' WHERE path = 'swap/b'; UPDATE $table SET path = 'swap/b' WHERE path = 'swap/x';
			UPDATE $table SET path = 'deleted/b' WHERE path = 'deleted/a';
			UPDATE $table SET path = 'anew/b' WHERE path = 'anew/a'; INSERT INTO $table `+created+`;
			UPDATE $table SET path = 'chain/b' WHERE path = 'chain/a'; UPDATE $table SET path = 'chain/c' WHERE path = 'chain/b';`, "$table", table)
	}
	execute(t, m.pool, renames("artifacts", `(path, size, sha256) VALUES ('anew/a', 11, encode(sha256('another one'), 'hex'))`)+
		renames("repositories", `(path) VALUES ('anew/a')`))
	m.until(t, "the log was read", func() bool {
		return m.count(t, "SELECT count(*) FROM casq.registry WHERE resource_id = 'chain/c'") == 2
	})
}

// missing are those of which no copy is at the second site. A walk is no snapshot: what
// moves while it goes on may be passed by twice, but not by each of several walks.
func (m *movingSite) missing() (missing []string) {
	missing = m.lives
	for try := 0; try < 5 && len(missing) > 0; try++ {
		found := m.copies()
		missing = slices.DeleteFunc(slices.Clone(missing), func(one string) bool { return strings.Contains(found, one) })
	}
	return missing
}

// copies has the bytes of all files in place or put aside, and the refs of all such mirrors.
func (m *movingSite) copies() string {
	var found strings.Builder
	for _, target := range []string{m.fileTarget, m.repositoryTarget} {
		_ = filepath.WalkDir(target, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // it went while we looked; the next look will tell
			}
			name := strings.TrimPrefix(path, target+"/")
			if entry.IsDir() {
				if entry.Name() == "objects" || filepath.Dir(name) == ".casq" && entry.Name() != "moved" {
					return fs.SkipDir
				}
				return nil
			}
			content, err := os.ReadFile(path)
			found.Write(content)
			return err
		})
	}
	return found.String()
}

// sample looks all the while whether a copy of each is there, until stop, which returns what
// was missing at any time.
func (m *movingSite) sample() (stop func() []string) {
	done, result := make(chan struct{}), make(chan []string, 1)
	go func() {
		poll := time.NewTicker(2 * time.Millisecond)
		defer poll.Stop()
		var all []string
		for {
			all = append(all, m.missing()...)
			select {
			case <-done:
				slices.Sort(all)
				result <- slices.Compact(all)
				return
			case <-poll.C:
			}
		}
	}()
	return func() []string { close(done); return <-result }
}

// wantMoved compares both sides, with nothing left over.
func (m *movingSite) wantMoved(t *testing.T) {
	t.Helper()
	want := map[string]string{"plain/b": "plain/a", "swap/a": "swap/b", "swap/b": "swap/a", "deleted/b": "deleted/a", "anew/b": "anew/a", "chain/c": "chain/a"}
	for key, of := range want {
		if got := m.file(t, key); got != "bytes of "+of {
			t.Errorf("in place of %s is %q", key, got)
		}
		m.wantRepository(t, key)
	}
	if got := m.file(t, "anew/a"); got != "another one" {
		t.Errorf("in place of anew/a is %q", got)
	}
	m.wantRepository(t, "anew/a")
	for _, key := range []string{"plain/a", "deleted/a", "chain/a", "chain/b", "swap/x"} {
		for _, target := range []string{m.fileTarget, m.repositoryTarget} {
			if _, err := os.Lstat(filepath.Join(target, key)); err == nil {
				t.Errorf("%s is still in place", key)
			}
		}
	}
	if n := m.count(t, "SELECT count(*) FROM casq.moves"); n > 0 {
		t.Errorf("%d moves are left", n)
	}
}

// TestR138Moves: resources get other keys, and there is never less than one copy of any.
//
// The worker has staged what it copies to the new keys, and goes no further; the removals
// of the old ones come first. Where they are those of deletes, nothing is left at the
// second site until the copies are published. And workers are killed, or frozen, at each
// step; others go on. Then the database fails over, too, to a standby that has all of it, or
// nothing of what was done since the resources have their new keys.
func TestR138Moves(t *testing.T) {
	t.Parallel()
	long.Test(t)
	t.Run("twin/a delete and a create", func(t *testing.T) {
		t.Parallel()
		m := newMovingSite(t, false)
		// plain, deleted and chain, each a file and a repository. What another one replaces
		// stays until that is published.
		if missing := m.removalsFirst(t); len(missing) != 6 {
			t.Errorf("missing are %q; want six, for that is what goes wrong", missing)
		}
	})
	t.Run("ours/removals first", func(t *testing.T) {
		t.Parallel()
		m := newMovingSite(t, true)
		if missing := m.removalsFirst(t); len(missing) > 0 {
			t.Errorf("no copy was left of %q", missing)
		}
		m.wantMoved(t)
	})
	for _, at := range []string{"begin:made", "copy:staged", "publish:renamed", "complete:committed", "remove:renamed"} {
		t.Run("ours/killed/"+at, func(t *testing.T) {
			t.Parallel()
			playMoves(t, at, syscall.SIGKILL)
		})
	}
	for _, at := range []string{"publish:renamed", "complete:committed"} {
		for name, lacks := range map[string]bool{"has all": false, "lacks the end": true} {
			t.Run("ours/failed over/"+at+"/"+name, func(t *testing.T) {
				t.Parallel()
				failOverInMoves(t, at, lacks)
			})
		}
	}
	for _, at := range []string{"publish:before-rename", "remove:before-rename"} {
		t.Run("ours/frozen/"+at, func(t *testing.T) {
			t.Parallel()
			playMoves(t, at, syscall.SIGSTOP)
		})
	}
}

// removalsFirst has all copies wait until no removal is left to be looked at, and returns
// what is missing then.
func (m *movingSite) removalsFirst(t *testing.T) []string {
	t.Helper()
	m.move(t)
	release := make(chan struct{})
	cfg := m.config(t, "removals first")
	cfg.Hook = func(point string) {
		if point == "copy:staged" {
			<-release
		}
	}
	other := startLocal(t, cfg)
	m.until(t, "no removal is left to be looked at", func() bool {
		return m.count(t, "SELECT count(*) FROM river.river_job WHERE kind = 'casq_remove' AND finalized_at IS NULL") == 0 && other.times("copy:staged") > 10
	})
	missing := m.missing()
	close(release)
	m.untilDone(t)
	other.stop(t)
	return missing
}

func playMoves(t *testing.T, at string, signal syscall.Signal) {
	t.Helper()
	m := newMovingSite(t, true)
	m.move(t)
	stop := m.sample()
	first := startWorker(t, m.spec(at, signal))
	if signal == syscall.SIGKILL {
		first.killed(t)
	} else {
		first.frozen(t)
		m.endSessions(t) // it has locked rows
	}
	m.takeOver(t, false, func() { m.untilDone(t) })
	if signal == syscall.SIGSTOP {
		first.thaw(t)
		first.stop(t)
		m.untilDone(t)
	}
	if missing := stop(); len(missing) > 0 {
		t.Errorf("for a time no copy was left of %q", missing)
	}
	m.wantMoved(t)
}

// failOverInMoves kills a worker, and then the primary. The standby that is promoted knows of
// the worker's claims and copies, or of none.
func failOverInMoves(t *testing.T, at string, lacks bool) {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	standby := cluster.Standbys[0]
	m := moveIn(t, newSiteAt(t, cluster.URL(), testdb.Pool(t, cluster.URL())), true)
	m.move(t)
	m.leave()
	caughtUp := func() { must(t, standby.WaitReplayed(t.Context(), cluster.Primary)) }
	if lacks {
		caughtUp()
		must(t, standby.CutOff(t.Context()))
	}
	stop := m.sample()
	startWorker(t, m.spec(at, syscall.SIGKILL)).killed(t)
	if !lacks {
		caughtUp()
	}
	must(t, cluster.Primary.Kill())
	must(t, standby.Promote(t.Context()))
	m.url = cluster.StandbyURL(0)
	m.pool = testdb.Pool(t, m.url)
	m.follow(t)
	m.takeOver(t, false, func() { m.untilDone(t) })
	if missing := stop(); len(missing) > 0 {
		t.Errorf("for a time no copy was left of %q", missing)
	}
	m.wantMoved(t)
}
