package git

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// The race R15: a process passes the check of its row, is stopped right before
// it acts, loses its session, and wakes after the next version is in place. Each test
// plays it with a real process and a real SIGSTOP, fenced and not: the twin shows
// that without the fence the late act wins.

// The old values match again: version 2 puts the branch back to where it was
// before version 1.
func TestFrozenRefUpdate(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		dir := b.newSource(t, "r.git")
		b.mustSync(t, "r.git")
		original := transfertest.Git(t, dir, "rev-parse", "main")
		first := transfertest.Commit(t, dir, "refs/heads/main", "version 1")
		return transfertest.Late{
			Run: b.child(t, pointBeforeRefs, twin),
			Meanwhile: func() {
				transfertest.Git(t, dir, "update-ref", "refs/heads/main", original)
				b.mustSync(t, "r.git")
			},
			Wins:  func(said string) { b.wantMain(t, first, said) },
			Loses: func() { b.wantMain(t, original, "fenced"); b.wantSame(t, "r.git") },
		}
	})
}

// Version 1 only deletes a branch, version 2 brings it back: no ref of the
// claim but the fence stands between.
func TestFrozenRefDeletion(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		dir := b.newSource(t, "r.git")
		topic := transfertest.Commit(t, dir, "refs/heads/topic", "t")
		b.mustSync(t, "r.git")
		transfertest.Git(t, dir, "update-ref", "-d", "refs/heads/topic")
		return transfertest.Late{
			Run: b.child(t, pointBeforeRefs, twin),
			Meanwhile: func() {
				transfertest.Git(t, dir, "update-ref", "refs/heads/topic", topic)
				b.mustSync(t, "r.git")
			},
			Wins: func(said string) {
				if out, err := transfertest.TryGit(b.target+"/r.git", "rev-parse", "--verify", "topic"); err == nil {
					t.Fatalf("the twin wins: topic is %s, and it says %q", out, said)
				}
			},
			Loses: func() { b.wantSame(t, "r.git") },
		}
	})
}

// Only HEAD differs, which is a rename and no ref transaction.
func TestFrozenHead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	transfertest.Commit(t, dir, "refs/heads/trunk", "t")
	b.mustSync(t, "r.git")
	transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
	late := transfertest.StartFrozen(t, &transfertest.Child{
		Source: b.source, Target: b.target, Place: b.place("r.git"), At: pointBeforeRefs,
	})
	transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/main")
	b.mustSync(t, "r.git")
	if said := late.Thaw(t); said != "fenced" {
		t.Fatalf("late process says %q", said)
	}
	b.wantSame(t, "r.git")
}

func TestFrozenRepositoryPublish(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		dir := b.newSource(t, "r.git")
		first := transfertest.Git(t, dir, "rev-parse", "main")
		return transfertest.Late{
			Run: b.child(t, transfer.PointBeforePublish, twin),
			Meanwhile: func() {
				transfertest.Commit(t, dir, "refs/heads/main", "version 2")
				b.mustSync(t, "r.git")
			},
			Wins:  func(said string) { b.wantMain(t, first, said) },
			Loses: func() { b.wantSame(t, "r.git") },
		}
	})
}

func TestFrozenRepositoryRemoval(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		dir := b.newSource(t, "r.git")
		b.mustSync(t, "r.git")
		run := b.child(t, transfer.PointBeforeRemove, twin)
		run.Removal = true
		return transfertest.Late{
			Run: run,
			Meanwhile: func() {
				transfertest.Must(t, os.RemoveAll(dir))
				b.newSource(t, "r.git")
				b.recreate(t)
			},
			Wins:  func(string) { transfertest.WantAbsent(t, b.target, "r.git") },
			Loses: func() { b.wantSame(t, "r.git") },
		}
	})
}

// child is a run on r.git that is frozen at a point.
func (b *bundle) child(t *testing.T, at string, twin transfertest.Twin) *transfertest.Child {
	t.Helper()
	return &transfertest.Child{Source: b.source, Target: b.target, GitPath: twin.Git(t), Place: b.place("r.git"), At: at}
}

// recreate copies another repository under the same key.
func (b *bundle) recreate(t *testing.T) {
	t.Helper()
	recreated := b.place("r.git")
	recreated.Fresh = true
	_, err := b.sync(t, recreated)
	transfertest.Must(t, err)
}

func (b *bundle) wantMain(t *testing.T, want, said string) {
	t.Helper()
	if now := transfertest.Git(t, filepath.Join(b.target, "r.git"), "rev-parse", "main"); now != want {
		t.Fatalf("main is %s, want %s; the late process says %q", now, want, said)
	}
}

// A ref update of the first incarnation, frozen while the resource is deleted and made
// again under the same path.
func TestFrozenRefUpdateOfAnEarlierIncarnation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	transfertest.Commit(t, dir, "refs/heads/main", "version 1")
	late := transfertest.StartFrozen(t, &transfertest.Child{
		Source: b.source, Target: b.target, Place: b.place("r.git"), At: pointBeforeRefs,
	})
	transfertest.Must(t, b.remove(t, "r.git"))
	transfertest.Git(t, dir, "update-ref", "refs/heads/main", "main~1") // the old values match
	b.recreate(t)
	if said := late.Thaw(t); said != "fenced" {
		t.Fatalf("late process says %q", said)
	}
	b.wantSame(t, "r.git")
}

func TestKilledRepositoryRun(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		for _, point := range []string{transfer.PointMade, transfer.PointStaged, transfer.PointBeforePublish, transfer.PointPublished, pointBeforeRefs} {
			if first == (point == pointBeforeRefs) || (!first && (point == transfer.PointBeforePublish || point == transfer.PointPublished)) {
				continue // the first copy is a rename, the second a ref transaction
			}
			t.Run(fmt.Sprintf("%s first=%v", strings.ReplaceAll(point, ":", " "), first), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				dir := b.newSource(t, "g/r.git")
				if !first {
					b.mustSync(t, "g/r.git")
					transfertest.Commit(t, dir, "refs/heads/main", "two")
				}
				place := b.place("g/r.git")
				transfertest.RunKilled(t, &transfertest.Child{Source: b.source, Target: b.target, Place: place, At: point})
				transfertest.Must(t, b.Sweep(t.Context(), place))
				transfertest.WantNoStaging(t, b.target)
				transfertest.WantAbsent(t, b.target, "g/r.git/refs/casq")
				b.mustSync(t, "g/r.git")
				transfertest.WantNoStaging(t, b.target)
			})
		}
	}
}
