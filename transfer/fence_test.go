package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"casq/internal/testing/unguarded"
)

// The race R15: a process passes the check of its row, is stopped right before
// it acts, loses its session, and wakes after the next version is in place. Each test
// plays it with a real process and a real SIGSTOP, fenced and not: the twin shows
// that without the fence the late act wins.

type twin struct {
	name     string
	unfenced bool
}

var twins = []twin{{"fenced", false}, {"naive twin", true}}

// git is the one that the late process has.
func (t twin) git(test *testing.T) string {
	test.Helper()
	if !t.unfenced {
		return ""
	}
	return unguarded.Git(test)
}

func TestFrozenFilePublish(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			b.unfenced = twin.unfenced
			write(t, b.source, "a/k", "version 1")
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target,
				Place: Place{Key: "a/k", Claim: claim()}, At: pointBeforePublish,
			})
			write(t, b.source, "a/k", "version 2")
			_, err := b.sync(t, "a/k", "")
			must(t, err)
			said := late.thaw(t)
			if twin.unfenced {
				wantContent(t, b.target, "a/k", "version 1")
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			wantContent(t, b.target, "a/k", "version 2")
			wantNoStaging(t, b.target)
		})
	}
}

// The place does not exist when the late process stops, and not when it wakes.
func TestFrozenFilePublishAfterRemoval(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			b.unfenced = twin.unfenced
			write(t, b.source, "a/k", "version 1")
			write(t, b.target, "a/other", "keeps the folder")
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target,
				Place: Place{Key: "a/k", Claim: claim()}, At: pointBeforePublish,
			})
			must(t, b.remove(t, "a/k"))
			said := late.thaw(t)
			if twin.unfenced {
				wantContent(t, b.target, "a/k", "version 1")
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			wantAbsent(t, b.target, "a/k")
			wantNoStaging(t, b.target)
		})
	}
}

func TestFrozenFileRemoval(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			b.unfenced = twin.unfenced
			write(t, b.source, "a/k", "version 1")
			_, err := b.sync(t, "a/k", "")
			must(t, err)
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target, Removal: true,
				Place: Place{Key: "a/k", Claim: claim()}, At: pointBeforeRemove,
			})
			write(t, b.source, "a/k", "the recreated resource")
			_, err = b.sync(t, "a/k", "")
			must(t, err)
			said := late.thaw(t)
			if twin.unfenced {
				wantAbsent(t, b.target, "a/k")
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			wantContent(t, b.target, "a/k", "the recreated resource")
			wantNoStaging(t, b.target)
		})
	}
}

// The old values match again: version 2 puts the branch back to where it was
// before version 1.
func TestFrozenRefUpdate(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			b.unfenced = twin.unfenced
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			original := gitIn(t, dir, "rev-parse", "main")
			first := commit(t, dir, "refs/heads/main", "version 1")
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target, GitPath: twin.git(t), Repository: true,
				Place: b.place("r.git"), At: pointBeforeRefs,
			})
			gitIn(t, dir, "update-ref", "refs/heads/main", original)
			_, err := b.sync(t, b.place("r.git"))
			must(t, err)
			said := late.thaw(t)
			now := gitIn(t, filepath.Join(b.target, "r.git"), "rev-parse", "main")
			if twin.unfenced {
				if now != first {
					t.Fatalf("the twin wins: main is %s, and it says %q", now, said)
				}
				return
			}
			if said != "fenced" || now != original {
				t.Fatalf("late process says %q, main is %s, want %s", said, now, original)
			}
			b.wantSame(t, "r.git")
			wantNoStaging(t, b.target)
		})
	}
}

// Version 1 only deletes a branch, version 2 brings it back: no ref of the
// claim but the fence stands between.
func TestFrozenRefDeletion(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			b.unfenced = twin.unfenced
			dir := b.newSource(t, "r.git")
			topic := commit(t, dir, "refs/heads/topic", "t")
			b.mustSync(t, "r.git")
			gitIn(t, dir, "update-ref", "-d", "refs/heads/topic")
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target, GitPath: twin.git(t), Repository: true,
				Place: b.place("r.git"), At: pointBeforeRefs,
			})
			gitIn(t, dir, "update-ref", "refs/heads/topic", topic)
			_, err := b.sync(t, b.place("r.git"))
			must(t, err)
			said := late.thaw(t)
			if twin.unfenced {
				if out, err := tryGitIn(b.target+"/r.git", "rev-parse", "--verify", "topic"); err == nil {
					t.Fatalf("the twin wins: topic is %s, and it says %q", out, said)
				}
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			b.wantSame(t, "r.git")
		})
	}
}

// Only HEAD differs, which is a rename and no ref transaction.
func TestFrozenHead(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	commit(t, dir, "refs/heads/trunk", "t")
	b.mustSync(t, "r.git")
	gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
	late := startFrozen(t, &childSpec{
		Source: b.source, Target: b.target, Repository: true, Place: b.place("r.git"), At: pointBeforeRefs,
	})
	gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/main")
	b.mustSync(t, "r.git")
	if said := late.thaw(t); said != "fenced" {
		t.Fatalf("late process says %q", said)
	}
	b.wantSame(t, "r.git")
}

func TestFrozenRepositoryPublish(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			b.unfenced = twin.unfenced
			dir := b.newSource(t, "r.git")
			first := gitIn(t, dir, "rev-parse", "main")
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target, GitPath: twin.git(t), Repository: true,
				Place: b.place("r.git"), At: pointBeforePublish,
			})
			commit(t, dir, "refs/heads/main", "version 2")
			b.mustSync(t, "r.git")
			said := late.thaw(t)
			if twin.unfenced {
				if now := gitIn(t, filepath.Join(b.target, "r.git"), "rev-parse", "main"); now != first {
					t.Fatalf("the twin wins: main is %s, and it says %q", now, said)
				}
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			b.wantSame(t, "r.git")
			wantNoStaging(t, b.target)
		})
	}
}

func TestFrozenRepositoryRemoval(t *testing.T) {
	t.Parallel()
	for _, twin := range twins {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			b.unfenced = twin.unfenced
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			late := startFrozen(t, &childSpec{
				Source: b.source, Target: b.target, GitPath: twin.git(t), Repository: true, Removal: true,
				Place: b.place("r.git"), At: pointBeforeRemove,
			})
			must(t, os.RemoveAll(dir))
			b.newSource(t, "r.git")
			recreated := b.place("r.git")
			recreated.Fresh = true
			_, err := b.sync(t, recreated)
			must(t, err)
			said := late.thaw(t)
			if twin.unfenced {
				wantAbsent(t, b.target, "r.git")
				return
			}
			if said != "fenced" {
				t.Fatalf("late process says %q", said)
			}
			b.wantSame(t, "r.git")
			wantNoStaging(t, b.target)
		})
	}
}

// A ref update of the first incarnation, frozen while the resource is deleted and made
// again under the same path.
func TestFrozenRefUpdateOfAnEarlierTimeline(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	commit(t, dir, "refs/heads/main", "version 1")
	late := startFrozen(t, &childSpec{
		Source: b.source, Target: b.target, Repository: true, Place: b.place("r.git"), At: pointBeforeRefs,
	})
	must(t, b.remove(t, "r.git"))
	gitIn(t, dir, "update-ref", "refs/heads/main", "main~1") // the old values match
	recreated := b.place("r.git")
	recreated.Fresh = true
	_, err := b.sync(t, recreated)
	must(t, err)
	if said := late.thaw(t); said != "fenced" {
		t.Fatalf("late process says %q", said)
	}
	b.wantSame(t, "r.git")
}

// Killed between each pair of durable steps: the next run puts resources right
// and leaves nothing behind.
func TestKilledFileRun(t *testing.T) {
	t.Parallel()
	for _, point := range []string{pointMade, pointStaged, pointBeforePublish, pointPublished} {
		t.Run(strings.ReplaceAll(point, ":", " "), func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			write(t, b.target, "a/k", "version 0")
			write(t, b.source, "a/k", "version 1")
			place := Place{Key: "a/k", Claim: claim()}
			runKilled(t, &childSpec{Source: b.source, Target: b.target, Place: place, At: point})
			want := "version 0"
			if point == pointPublished {
				want = "version 1"
			}
			wantContent(t, b.target, "a/k", want)
			must(t, b.Sweep(t.Context(), place))
			must(t, b.Sweep(t.Context(), place))
			wantNoStaging(t, b.target)
			_, err := b.sync(t, "a/k", "")
			must(t, err)
			wantContent(t, b.target, "a/k", "version 1")
			wantNoStaging(t, b.target)
		})
	}
}

func TestKilledFileRemoval(t *testing.T) {
	t.Parallel()
	for _, point := range []string{pointMade, pointBeforeRemove, pointRemoved} {
		t.Run(strings.ReplaceAll(point, ":", " "), func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			write(t, b.target, "a/k", "x")
			runKilled(t, &childSpec{
				Source: b.source, Target: b.target, Place: Place{Key: "a/k", Claim: claim()}, At: point, Removal: true,
			})
			must(t, b.remove(t, "a/k"))
			wantAbsent(t, b.target, "a")
			wantNoStaging(t, b.target)
		})
	}
}

func TestKilledRepositoryRun(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		for _, point := range []string{pointMade, pointStaged, pointBeforePublish, pointPublished, pointBeforeRefs} {
			if first == (point == pointBeforeRefs) || (!first && (point == pointBeforePublish || point == pointPublished)) {
				continue // the first copy is a rename, the second a ref transaction
			}
			t.Run(fmt.Sprintf("%s first=%v", strings.ReplaceAll(point, ":", " "), first), func(t *testing.T) {
				t.Parallel()
				b := setupRepositories(t)
				dir := b.newSource(t, "g/r.git")
				if !first {
					b.mustSync(t, "g/r.git")
					commit(t, dir, "refs/heads/main", "two")
				}
				place := b.place("g/r.git")
				runKilled(t, &childSpec{Source: b.source, Target: b.target, Place: place, At: point, Repository: true})
				must(t, b.Sweep(t.Context(), place))
				wantNoStaging(t, b.target)
				wantAbsent(t, b.target, "g/r.git/refs/casq")
				b.mustSync(t, "g/r.git")
				wantNoStaging(t, b.target)
			})
		}
	}
}

func TestBeginTwiceWithOneClaim(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	place := Place{Key: "k", Claim: claim()}
	run, err := b.Begin(t.Context(), place)
	must(t, err)
	if again, err := b.Begin(t.Context(), place); err == nil {
		_ = again.Close()
		t.Fatal("the staging was made again")
	}
	must(t, run.Close())
}

func TestFencedAtEachStep(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "x")
	first, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	_, err = first.Copy(t.Context(), nil)
	must(t, err)
	second, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	wantError(t, first.Publish(t.Context()), ErrFenced)
	wantError(t, first.Remove(t.Context()), ErrFenced) // also when nothing is in place
	_, err = first.Copy(t.Context(), nil)
	wantError(t, err, ErrFenced)
	must(t, first.Close())
	wantAbsent(t, b.target, "k")
	_, err = second.Copy(t.Context(), nil)
	must(t, err)
	must(t, second.Publish(t.Context()))
	wantError(t, first.Remove(t.Context()), ErrFenced)
	must(t, second.Close())
	wantContent(t, b.target, "k", "x")
}

// A Begin that can not fence leaves nothing behind.
func TestBeginCancelled(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.target, stagingRoot+"/"+stagingName("k")+"/"+claim()+"/deep/file", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Begin(ctx, Place{Key: "k", Claim: claim()})
	wantError(t, err, context.Canceled)
	run, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	must(t, run.Close())
	wantNoStaging(t, b.target)
}

// A folder under the claim's name that somebody made again is not the fence.
func TestStagingMadeAgainIsNoFence(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "x")
	place := Place{Key: "k", Claim: claim()}
	run, err := b.Begin(t.Context(), place)
	must(t, err)
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	another := Place{Key: "k", Claim: claim()} // keeps the shared folder
	write(t, b.target, stagingRoot+"/"+stagingName("k")+"/"+another.Claim+"/"+stagedFile, "x")
	must(t, b.Sweep(t.Context(), place))
	write(t, b.target, stagingRoot+"/"+stagingName("k")+"/"+place.Claim+"/"+stagedFile, "planted")
	wantError(t, run.Publish(t.Context()), ErrFenced)
	wantError(t, run.Remove(t.Context()), ErrFenced)
	must(t, run.Close())
	must(t, b.Sweep(t.Context(), another))
	wantAbsent(t, b.target, "k")
	wantNoStaging(t, b.target)
}

// Many runs at once on few keys that share folders: at the end each key is in
// the complete state that its last run left, and nothing else is there.
func TestManyRunsAtOnce(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	keys := []string{"x", "a/1", "a/2", "a/b/1", "a/b/2", "a/b/c/d"}
	contents := map[string]bool{}
	for _, key := range keys {
		write(t, b.source, key, strings.Repeat(key, 1000))
		contents[strings.Repeat(key, 1000)] = true
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 60 {
				key := keys[(worker*7+i)%len(keys)]
				var err error
				if (worker+i)%3 == 0 {
					err = b.remove(t, key)
				} else {
					_, err = b.sync(t, key, "")
				}
				if err != nil && !errors.Is(err, ErrFenced) {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	group.Wait()
	wantNoStaging(t, b.target)
	for _, key := range keys {
		content, err := os.ReadFile(filepath.Join(b.target, key))
		if err == nil && !contents[string(content)] {
			t.Errorf("%s is torn", key)
		}
		must(t, b.remove(t, key))
	}
	entries, err := os.ReadDir(b.target)
	must(t, err)
	if len(entries) != 1 {
		t.Fatalf("left over: %v", entries)
	}
}

// losing is a source that has the staged file removed when a copy asks for the
// file's attributes: as another claim does that begins just then, and has not come
// to the folder yet.
type losing struct {
	Source
	target string
}

func (l losing) Open(ctx context.Context, path string) (Object, error) {
	opened, err := l.Source.Open(ctx, path)
	return losingObject{opened, l.target}, err
}

type losingObject struct {
	Object
	target string
}

func (o losingObject) attributes() attributes {
	staged, _ := filepath.Glob(filepath.Join(o.target, stagingRoot, "*", "*", stagedFile))
	for _, name := range staged {
		_ = os.Remove(name)
	}
	return attributesFor(o.Object)
}

func TestAStagedFileThatIsGoneIsTheFence(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "1")
	b.Files.source = losing{b.Files.source, b.target}
	_, err := b.sync(t, "k", "")
	wantError(t, err, ErrFenced)
}
