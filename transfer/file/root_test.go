package file

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/internal/testing/unguarded"
	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// A target without its mark is refused in everything, and used again when it has
// its name again.
func TestATargetWithoutItsMark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Must(t, b.Keep(t.Context(), transfertest.NewMark(), true))
	transfertest.Write(t, b.source, "a/k", "bytes")
	_, err := b.sync(t, "a/k", "")
	transfertest.Must(t, err)
	transfertest.WantNoStaging(t, b.target)
	moved := transfertest.Swap(t, b.target, false)

	transfertest.WantError(t, b.Check(), transfer.ErrElsewhere)
	_, err = b.sync(t, "a/k", "")
	transfertest.WantError(t, err, transfer.ErrElsewhere)
	transfertest.WantError(t, b.remove(t, "a/k"), transfer.ErrElsewhere)
	transfertest.WantError(t, b.Verify(t.Context(), transfer.Place{Key: "a/k"}, nil, ""), transfer.ErrElsewhere)
	transfertest.WantError(t, b.Sweep(t.Context(), transfer.Place{Key: "a/k", Claim: transfertest.NewClaim()}), transfer.ErrElsewhere)
	transfertest.WantError(t, b.Walk(t.Context(), "", "", func(transfer.Placed) error { return nil }), transfer.ErrElsewhere)
	transfertest.WantError(t, b.ListStaging(t.Context(), func(transfer.Staged) error { return nil }), transfer.ErrElsewhere)
	transfertest.WantError(t, b.DropStaging(t.Context(), transfer.Staged{Folder: transfer.StagingName("a/k"), Claim: transfertest.NewClaim()}), transfer.ErrElsewhere)
	entries, err := os.ReadDir(b.target)
	transfertest.Must(t, err)
	if len(entries) > 0 {
		t.Errorf("the strange folder has got %v", entries)
	}

	transfertest.Unswap(t, b.target, moved)
	transfertest.Must(t, b.Check())
	transfertest.Must(t, b.remove(t, "a/k"))
	transfertest.WantAbsent(t, b.target, "a/k")
}

// One that was emptied, mark and all, is as strange.
func TestATargetThatWasEmptied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Must(t, b.Keep(t.Context(), transfertest.NewMark(), true))
	transfertest.Must(t, os.RemoveAll(filepath.Join(b.target, transfer.StagingRoot)))
	transfertest.WantError(t, b.remove(t, "a"), transfer.ErrElsewhere)
	another := transfertest.NewMark()
	other, err := folder.OpenTarget(b.target, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	transfertest.Must(t, other.Keep(another, true))
	transfertest.Must(t, other.Close())
	transfertest.WantError(t, b.remove(t, "a"), transfer.ErrElsewhere)
	transfertest.Must(t, os.WriteFile(filepath.Join(b.target, transfer.StagingRoot, transfer.MarkName), []byte("?"), 0o600))
	transfertest.WantError(t, b.remove(t, "a"), transfer.ErrElsewhere)
}

// A target that has moved, with its mark, is gone on in, and the one before is
// let go of.
func TestATargetThatMoved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Must(t, b.Keep(t.Context(), transfertest.NewMark(), true))
	transfertest.Write(t, b.source, "k", "bytes")
	moved := transfertest.Swap(t, b.target, true)
	_, err := b.sync(t, "k", "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, b.target, "k", "bytes")
	transfertest.WantAbsent(t, moved, "k")
	away, err := os.Stat(moved)
	transfertest.Must(t, err)
	open, err := filepath.Glob("/proc/self/fd/*")
	transfertest.Must(t, err)
	for _, fd := range open {
		if held, err := os.Stat(fd); err == nil && os.SameFile(held, away) {
			t.Error("the folder that was moved away is still held open")
		}
	}
}

// held is the name of a folder that a naive twin holds by handle.
func held(t *testing.T, folder string) string {
	t.Helper()
	name, err := unguarded.Folder(folder)
	transfertest.Must(t, err)
	return name
}

// replaced plays a run in the middle of which another folder gets the name of
// the target.
func replaced(t *testing.T, byHandle bool, at string, act func(t *testing.T, run transfer.Run) error) (*bundle, error) {
	t.Helper()
	var b *bundle
	swapped, target := false, t.TempDir()
	b = setup(t, func(c *testConfig) {
		c.Target = target
		if byHandle {
			c.Target = held(t, target)
		}
		c.TestHook = func(point string) {
			if point == at && !swapped {
				swapped = true
				transfertest.Swap(t, b.target, true)
			}
		}
	})
	b.target = target
	transfertest.Must(t, b.Keep(t.Context(), transfertest.NewMark(), true))
	transfertest.Write(t, b.source, "k", "new")
	transfertest.Write(t, b.target, "k", "old")
	run, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	err = act(t, run)
	transfertest.Must(t, run.Close())
	if !swapped {
		t.Fatalf("nobody came to %s", at)
	}
	return b, err
}

// Whatever the moment at which it is replaced: a run does not say that it is done
// when it was in the other folder.
func TestATargetReplacedDuringARun(t *testing.T) {
	t.Parallel()
	publish := func(t *testing.T, run transfer.Run) error {
		t.Helper()
		if _, err := run.Copy(t.Context(), nil); err != nil {
			return err
		}
		return run.Publish(t.Context())
	}
	remove := func(t *testing.T, run transfer.Run) error { t.Helper(); return run.Remove(t.Context()) }
	for at, act := range map[string]func(*testing.T, transfer.Run) error{
		transfer.PointMade: publish, transfer.PointStaged: publish, transfer.PointBeforePublish: publish, transfer.PointPublished: publish,
		transfer.PointBeforeRemove: remove, transfer.PointRemoved: remove,
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			_, err := replaced(t, false, at, act)
			transfertest.WantError(t, err, transfer.ErrElsewhere)
		})
		if at == transfer.PointPublished || at == transfer.PointRemoved {
			continue // the copy has it
		}
		t.Run("twin/"+at, func(t *testing.T) {
			t.Parallel()
			b, err := replaced(t, true, at, act)
			transfertest.Must(t, err)
			transfertest.WantContent(t, b.target, "k", "old")
		})
	}
}

// A source is read where its name leads to.
func TestASourceThatIsReplaced(t *testing.T) {
	t.Parallel()
	for _, twin := range []bool{true, false} {
		b := setup(t, func(c *testConfig) {
			if twin {
				c.SourceURL = held(t, c.SourceURL)
			}
		})
		transfertest.Write(t, b.source, "k", "old")
		transfertest.Swap(t, b.source, false)
		transfertest.Write(t, b.source, "k", "new")
		_, err := b.sync(t, "k", "")
		transfertest.Must(t, err)
		transfertest.WantContent(t, b.target, "k", map[bool]string{true: "old", false: "new"}[twin])
	}
}

func TestASourceReplacedDuringACopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "old")
	b.Files.source = meddler{b.Files.source, sync.OnceFunc(func() {
		transfertest.Swap(t, b.source, false)
		transfertest.Write(t, b.source, "k", "new")
	})}
	_, err := b.sync(t, "k", "")
	transfertest.WantError(t, err, transfer.ErrChanged)
	_, err = b.sync(t, "k", string(named("new")))
	transfertest.Must(t, err)
}

// A source that is not mounted any more has nothing to say of what it lacks.
func TestASourceThatIsUnmounted(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source")
	transfertest.MountTmpfs(t, source, "size=64k")
	transfertest.Write(t, source, "k", "bytes")
	b := setup(t, func(c *testConfig) { c.SourceURL = source })
	transfertest.Must(t, unix.Unmount(source, unix.MNT_DETACH))
	_, err := b.sync(t, "k", "")
	transfertest.WantError(t, err, transfer.ErrElsewhere)
	transfertest.WantError(t, b.Check(), transfer.ErrElsewhere)
	transfertest.Must(t, unix.Mount("tmpfs", source, "tmpfs", 0, "size=64k"))
	transfertest.Must(t, b.Check())
	_, err = b.sync(t, "k", "")
	transfertest.WantError(t, err, transfer.ErrMissing)
	transfertest.Write(t, source, "k", "again")
	_, err = b.sync(t, "k", "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, b.target, "k", "again")
}
