package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// The race R15: a process passes the check of its row, is stopped right before
// it acts, loses its session, and wakes after the next version is in place. Each test
// plays it with a real process and a real SIGSTOP, fenced and not: the twin shows
// that without the fence the late act wins.

func TestFrozenFilePublish(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		transfertest.Write(t, b.source, "a/k", "version 1")
		return transfertest.Late{
			Run: b.child("a/k", transfer.PointBeforePublish),
			Meanwhile: func() {
				transfertest.Write(t, b.source, "a/k", "version 2")
				b.mustSync(t)
			},
			Wins:  func(string) { transfertest.WantContent(t, b.target, "a/k", "version 1") },
			Loses: func() { transfertest.WantContent(t, b.target, "a/k", "version 2") },
		}
	})
}

// The place does not exist when the late process stops, and not when it wakes.
func TestFrozenFilePublishAfterRemoval(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		transfertest.Write(t, b.source, "a/k", "version 1")
		transfertest.Write(t, b.target, "a/other", "keeps the folder")
		return transfertest.Late{
			Run:       b.child("a/k", transfer.PointBeforePublish),
			Meanwhile: func() { transfertest.Must(t, b.remove(t, "a/k")) },
			Wins:      func(string) { transfertest.WantContent(t, b.target, "a/k", "version 1") },
			Loses:     func() { transfertest.WantAbsent(t, b.target, "a/k") },
		}
	})
}

func TestFrozenFileRemoval(t *testing.T) {
	t.Parallel()
	transfertest.PlayLate(t, func(t *testing.T, twin transfertest.Twin) transfertest.Late {
		t.Helper()
		b := setup(t)
		b.unfenced = twin.Unfenced
		transfertest.Write(t, b.source, "a/k", "version 1")
		b.mustSync(t)
		run := b.child("a/k", transfer.PointBeforeRemove)
		run.Removal = true
		return transfertest.Late{
			Run: run,
			Meanwhile: func() {
				transfertest.Write(t, b.source, "a/k", "the recreated resource")
				b.mustSync(t)
			},
			Wins:  func(string) { transfertest.WantAbsent(t, b.target, "a/k") },
			Loses: func() { transfertest.WantContent(t, b.target, "a/k", "the recreated resource") },
		}
	})
}

// child is a run that is frozen at a point.
func (b *bundle) child(key, at string) *transfertest.Child {
	return &transfertest.Child{Source: b.source, Target: b.target, Place: transfer.Place{Key: key, Claim: transfertest.NewClaim()}, At: at}
}

func (b *bundle) mustSync(t *testing.T) {
	t.Helper()
	_, err := b.sync(t, "a/k", "")
	transfertest.Must(t, err)
}

// Killed between each pair of durable steps: the next run puts resources right
// and leaves nothing behind.
func TestKilledFileRun(t *testing.T) {
	t.Parallel()
	for _, point := range []string{transfer.PointMade, transfer.PointStaged, transfer.PointBeforePublish, transfer.PointPublished} {
		t.Run(strings.ReplaceAll(point, ":", " "), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.target, "a/k", "version 0")
			transfertest.Write(t, b.source, "a/k", "version 1")
			place := transfer.Place{Key: "a/k", Claim: transfertest.NewClaim()}
			transfertest.RunKilled(t, &transfertest.Child{Source: b.source, Target: b.target, Place: place, At: point})
			want := "version 0"
			if point == transfer.PointPublished {
				want = "version 1"
			}
			transfertest.WantContent(t, b.target, "a/k", want)
			transfertest.Must(t, b.Sweep(t.Context(), place))
			transfertest.Must(t, b.Sweep(t.Context(), place))
			transfertest.WantNoStaging(t, b.target)
			_, err := b.sync(t, "a/k", "")
			transfertest.Must(t, err)
			transfertest.WantContent(t, b.target, "a/k", "version 1")
			transfertest.WantNoStaging(t, b.target)
		})
	}
}

func TestKilledFileRemoval(t *testing.T) {
	t.Parallel()
	for _, point := range []string{transfer.PointMade, transfer.PointBeforeRemove, transfer.PointRemoved} {
		t.Run(strings.ReplaceAll(point, ":", " "), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.target, "a/k", "x")
			transfertest.RunKilled(t, &transfertest.Child{
				Source: b.source, Target: b.target, Place: transfer.Place{Key: "a/k", Claim: transfertest.NewClaim()}, At: point, Removal: true,
			})
			transfertest.Must(t, b.remove(t, "a/k"))
			transfertest.WantAbsent(t, b.target, "a")
			transfertest.WantNoStaging(t, b.target)
		})
	}
}

func TestBeginTwiceWithOneClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	place := transfer.Place{Key: "k", Claim: transfertest.NewClaim()}
	run, err := b.Begin(t.Context(), place)
	transfertest.Must(t, err)
	if again, err := b.Begin(t.Context(), place); err == nil {
		_ = again.Close()
		t.Fatal("the staging was made again")
	}
	transfertest.Must(t, run.Close())
}

func TestFencedAtEachStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "x")
	first, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	_, err = first.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	second, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	transfertest.WantError(t, first.Publish(t.Context()), transfer.ErrFenced)
	transfertest.WantError(t, first.Remove(t.Context()), transfer.ErrFenced) // also when nothing is in place
	_, err = first.Copy(t.Context(), nil)
	transfertest.WantError(t, err, transfer.ErrFenced)
	transfertest.Must(t, first.Close())
	transfertest.WantAbsent(t, b.target, "k")
	_, err = second.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	transfertest.Must(t, second.Publish(t.Context()))
	transfertest.WantError(t, first.Remove(t.Context()), transfer.ErrFenced)
	transfertest.Must(t, second.Close())
	transfertest.WantContent(t, b.target, "k", "x")
}

// A Begin that can not fence leaves nothing behind.
func TestBeginCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, transfertest.StagedAt(b.target, "k", transfertest.NewClaim()), "deep/file", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Begin(ctx, transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.WantError(t, err, context.Canceled)
	run, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	transfertest.Must(t, run.Close())
	transfertest.WantNoStaging(t, b.target)
}

// A file under the claim's name that somebody made again is not the fence.
func TestStagingMadeAgainIsNoFence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "x")
	place := transfer.Place{Key: "k", Claim: transfertest.NewClaim()}
	staged := transfertest.StagedAt(b.target, "k", place.Claim)
	run, err := b.Begin(t.Context(), place)
	transfertest.Must(t, err)
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	transfertest.Must(t, b.Sweep(t.Context(), place))
	transfertest.Write(t, filepath.Dir(staged), filepath.Base(staged), "planted")
	transfertest.WantError(t, run.Publish(t.Context()), transfer.ErrFenced)
	transfertest.WantError(t, run.Remove(t.Context()), transfer.ErrFenced)
	transfertest.Must(t, run.Close())
	transfertest.WantAbsent(t, b.target, "k")
	transfertest.WantNoStaging(t, b.target)
}

// Many runs at once on few keys that share folders: at the end each key is in
// the complete state that its last run left, and nothing else is there.
func TestManyRunsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := []string{"x", "a/1", "a/2", "a/b/1", "a/b/2", "a/b/c/d"}
	contents := map[string]bool{}
	for _, key := range keys {
		transfertest.Write(t, b.source, key, strings.Repeat(key, 1000))
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
				if err != nil && !errors.Is(err, transfer.ErrFenced) {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	group.Wait()
	transfertest.WantNoStaging(t, b.target)
	for _, key := range keys {
		content, err := os.ReadFile(filepath.Join(b.target, key))
		if err == nil && !contents[string(content)] {
			t.Errorf("%s is torn", key)
		}
		transfertest.Must(t, b.remove(t, key))
	}
	entries, err := os.ReadDir(b.target)
	transfertest.Must(t, err)
	if len(entries) != 1 {
		t.Fatalf("left over: %v", entries)
	}
}

// losing is a source that has the staged file removed when a copy asks for the
// file's attributes: as another claim does that begins just then, and has not come
// to the folder yet.
type losing struct {
	transfer.Source
	target string
}

func (l losing) Open(ctx context.Context, path string) (transfer.Object, error) {
	opened, err := l.Source.Open(ctx, path)
	return losingObject{opened, l.target}, err
}

type losingObject struct {
	transfer.Object
	target string
}

func (o losingObject) attributes() attributes {
	staged, _ := filepath.Glob(filepath.Join(o.target, transfer.StagingRoot, "*", "*"))
	for _, name := range staged {
		_ = os.Remove(name)
	}
	return attributesFor(o.Object)
}

func TestAStagedFileThatIsGoneIsTheFence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "1")
	b.Files.source = losing{b.Files.source, b.target}
	_, err := b.sync(t, "k", "")
	transfertest.WantError(t, err, transfer.ErrFenced)
}
