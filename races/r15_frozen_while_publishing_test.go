package races

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"casq/internal/testing/unguarded"

	"golang.org/x/sys/unix"
)

const theRepository = "a/repo"

// TestR15FrozenPublish: frozen between the look at the row and the rename.
//
// The process has locked the row, found its token and its claim in it, and is
// stopped one instruction before the rename. Its session ends, and with it the
// lock. The next version is copied by another process. Then the first one goes
// on with the rename that it was about to make: the newer bytes have to stay.
// The row cannot help, it was asked already; the staging folder, which the
// newer run has deleted, does.
func TestR15FrozenPublish(t *testing.T) {
	t.Parallel()
	t.Run("twin/staging_left_alone", func(t *testing.T) {
		t.Parallel()
		s := playFrozenPublish(t, true)
		if got := s.file(t, "a/file"); got != "first" {
			t.Errorf("in place is %q: the late rename did no harm", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := playFrozenPublish(t, false)
		s.wantFiles(t, map[string]string{"a/file": "second, and longer"})
	})
}

func playFrozenPublish(t *testing.T, unfenced bool) *site {
	t.Helper()
	const key = "a/file"
	s := newSite(t)
	s.follow(t)
	s.put(t, key, "first")
	spec := s.spec("publish:before-rename", syscall.SIGSTOP)
	frozen := startWorker(t, spec)
	frozen.frozen(t)
	s.endSessions(t)

	s.changed(t, fileKind, key, func() { s.put(t, key, "second, and longer") })
	s.takeOver(t, unfenced, func() {
		s.untilSynced(t, fileKind, key)
		if got := s.file(t, key); got != "second, and longer" {
			t.Fatalf("in place is %q before the thaw", got)
		}
	})
	frozen.thaw(t)
	frozen.stop(t)
	if got := s.status(t, fileKind, key); got != "synced" {
		t.Errorf("the row is %s after the thaw, want synced", got)
	}
	return s
}

// takeOver lets another worker work until the condition is met.
func (s *site) takeOver(t *testing.T, unfenced bool, until func()) {
	t.Helper()
	cfg := s.config(t, "other")
	if unfenced {
		cfg.Hook = func(point string) {
			unguarded.Target(s.fileTarget).Hook(point)
			unguarded.Target(s.repositoryTarget).Hook(point)
		}
	}
	other := startLocal(t, cfg)
	until()
	other.stop(t)
}

// TestR15FrozenRemoval: frozen before the rename of a removal.
//
// As before, but what the frozen process is about to do is to take a deleted
// file away, and meanwhile the file is created again under its path: the new
// file has to stay.
func TestR15FrozenRemoval(t *testing.T) {
	t.Parallel()
	t.Run("twin/staging_left_alone", func(t *testing.T) {
		t.Parallel()
		s := playFrozenRemoval(t, true)
		if got := s.file(t, "a/file"); got != "(nothing)" {
			t.Errorf("in place is %q: the late removal did no harm", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := playFrozenRemoval(t, false)
		s.wantFiles(t, map[string]string{"a/file": "second incarnation"})
	})
}

func playFrozenRemoval(t *testing.T, unfenced bool) *site {
	t.Helper()
	const key = "a/file"
	s := newSite(t)
	s.follow(t)
	s.put(t, key, "first incarnation")
	s.takeOver(t, unfenced, func() { s.untilSynced(t, fileKind, key) })

	s.changed(t, fileKind, key, func() { s.remove(t, key) })
	spec := s.spec("remove:before-rename", syscall.SIGSTOP)
	frozen := startWorker(t, spec)
	frozen.frozen(t)
	s.endSessions(t)

	s.changed(t, fileKind, key, func() { s.put(t, key, "second incarnation") })
	s.takeOver(t, unfenced, func() {
		s.untilSynced(t, fileKind, key)
		if got := s.file(t, key); got != "second incarnation" {
			t.Fatalf("in place is %q before the thaw", got)
		}
	})
	frozen.thaw(t)
	frozen.stop(t)
	return s
}

// TestR15FrozenRefs: frozen before a ref update whose old values match again.
//
// The process is stopped before it moves main of a repository in place from
// the first commit to the second. Others move main to a third commit, and then
// back to the first one: what the frozen process takes for the old value is in
// place again when it goes on. Main has to stay where it is. Old values are no
// fence; the fence ref, which the newer runs have deleted, is.
func TestR15FrozenRefs(t *testing.T) {
	t.Parallel()
	t.Run("twin/old_values_only", func(t *testing.T) {
		t.Parallel()
		s, first, second := playFrozenRefs(t, true)
		if got := s.main(t); got != second {
			t.Errorf("main is %s (first was %s): the late update did no harm", got, first)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, first, _ := playFrozenRefs(t, false)
		if got := s.main(t); got != first {
			t.Errorf("main is %s, want the first commit %s", got, first)
		}
		s.wantRepository(t, theRepository)
		wantNoStaging(t, s.repositoryTarget)
	})
}

func playFrozenRefs(t *testing.T, unfenced bool) (s *site, first, second string) {
	t.Helper()
	const key = theRepository
	s = newSite(t)
	s.follow(t)
	first = s.push(t, key, "first", "")
	s.takeOver(t, unfenced, func() { s.untilSynced(t, repositoryKind, key) })

	s.changed(t, repositoryKind, key, func() { second = s.push(t, key, "second", "") })
	spec := s.spec("git:before-update-ref", syscall.SIGSTOP)
	if unfenced {
		spec.Path = filepath.Dir(unguarded.Git(t))
	}
	frozen := startWorker(t, spec)
	frozen.frozen(t)
	s.endSessions(t)

	s.thereAndBack(t, unfenced, first)
	frozen.thaw(t)
	frozen.stop(t)
	return s, first, second
}

// thereAndBack lets another worker bring main of the repository to a third
// commit and then back to the first one.
func (s *site) thereAndBack(t *testing.T, unfenced bool, first string) {
	t.Helper()
	key := theRepository
	s.takeOver(t, unfenced, func() {
		var third string
		s.changed(t, repositoryKind, key, func() { third = s.push(t, key, "third", "") })
		s.untilSynced(t, repositoryKind, key)
		if got := s.main(t); got != third {
			t.Fatalf("main is %s before the thaw, want the third commit %s", got, third)
		}
		s.changed(t, repositoryKind, key, func() { s.push(t, key, "", first) })
		s.untilSynced(t, repositoryKind, key)
		if got := s.main(t); got != first {
			t.Fatalf("main is %s before the thaw, want the first commit %s", got, first)
		}
	})
}

// TestR15FrozenGit: git itself is frozen, and with it the worker.
//
// That is what a machine does that is suspended. No deadline and no check of
// ours can help: git has been started and is stopped before its first
// instruction. Whoever comes next sees by the guard that a git process of an
// earlier run is not dead, waits for it some seconds, and then exchanges the
// repository for a new clone: the stopped git wakes in a folder that is gone.
func TestR15FrozenGit(t *testing.T) {
	t.Parallel()
	t.Run("twin/old_values_only", func(t *testing.T) {
		t.Parallel()
		s, first, second := playFrozenGit(t, true)
		if got := s.main(t); got != second {
			t.Errorf("main is %s (first was %s): the late update did no harm", got, first)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, first, _ := playFrozenGit(t, false)
		if got := s.main(t); got != first {
			t.Errorf("main is %s, want the first commit %s", got, first)
		}
		s.wantRepository(t, theRepository)
		wantNoStaging(t, s.repositoryTarget)
	})
}

func playFrozenGit(t *testing.T, unfenced bool) (s *site, first, second string) {
	t.Helper()
	s = newSite(t)
	s.follow(t)
	first = s.push(t, theRepository, "first", "")
	s.takeOver(t, unfenced, func() { s.untilSynced(t, repositoryKind, theRepository) })

	s.changed(t, repositoryKind, theRepository, func() { second = s.push(t, theRepository, "second", "") })
	spec := s.spec("", 0)
	spec.Path = t.TempDir()
	pidFile := filepath.Join(spec.Path, "pid")
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	if unfenced {
		program = unguarded.Git(t)
	}
	freezingGit(t, spec.Path, pidFile, program)
	worker := startWorker(t, spec)
	pid := s.untilFrozenGit(t, pidFile)
	worker.freeze(t)
	s.endSessions(t)

	s.thereAndBack(t, unfenced, first)
	// git first: the worker would kill it, its time is over.
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.until(t, "git ends", func() bool { return processState(pid) == "Z" })
	worker.thaw(t)
	worker.stop(t)
	return s, first, second
}

// freezingGit puts a git into a folder that stops itself, once, when it is to
// update refs.
func freezingGit(t *testing.T, folder, pidFile, program string) {
	t.Helper()
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in
*"update-ref --no-deref --stdin") if mkdir %[1]s.once 2>/dev/null; then echo $$ >%[1]s; kill -STOP $$; fi ;;
esac
exec %[2]s "$@"
`, pidFile, program)
	if err := os.WriteFile(filepath.Join(folder, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (s *site) untilFrozenGit(t *testing.T, pidFile string) (pid int) {
	t.Helper()
	s.until(t, "git stops itself", func() bool {
		text, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0 && processState(pid) == "T"
	})
	return pid
}

// processState is a process's state as a letter; T is stopped, Z ended and not
// yet waited for by its parent.
func processState(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}
