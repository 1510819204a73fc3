package transfer

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"casq/internal/testing/unguarded"

	"golang.org/x/sys/unix"
)

func aMark() Mark { return Mark{ID: claim(), Transfer: "file", Home: "here"} }

// swap puts another folder in the place of one: an empty one, or a copy of it
// with its mark. It returns where the first one is then.
func swap(t *testing.T, folder string, marked bool) (moved string) {
	t.Helper()
	moved = folder + ".moved"
	must(t, os.Rename(folder, moved))
	must(t, os.Mkdir(folder, 0o755))
	if marked {
		must(t, os.CopyFS(folder, os.DirFS(moved)))
	}
	return moved
}

// unswap puts it back.
func unswap(t *testing.T, folder, moved string) {
	t.Helper()
	must(t, os.RemoveAll(folder))
	must(t, os.Rename(moved, folder))
}

// A target without its mark is refused in everything, and used again when it has
// its name again.
func TestATargetWithoutItsMark(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	must(t, b.Keep(t.Context(), aMark(), true))
	write(t, b.source, "a/k", "bytes")
	_, err := b.sync(t, "a/k", "")
	must(t, err)
	wantNoStaging(t, b.target)
	moved := swap(t, b.target, false)

	wantError(t, b.Check(), ErrElsewhere)
	_, err = b.sync(t, "a/k", "")
	wantError(t, err, ErrElsewhere)
	wantError(t, b.remove(t, "a/k"), ErrElsewhere)
	wantError(t, b.Verify(t.Context(), Place{Key: "a/k"}, nil, ""), ErrElsewhere)
	wantError(t, b.Sweep(t.Context(), Place{Key: "a/k", Claim: claim()}), ErrElsewhere)
	wantError(t, b.Walk(t.Context(), "", "", func(Placed) error { return nil }), ErrElsewhere)
	wantError(t, b.ListStaging(t.Context(), func(Staged) error { return nil }), ErrElsewhere)
	wantError(t, b.DropStaging(t.Context(), Staged{Folder: stagingName("a/k"), Claim: claim()}), ErrElsewhere)
	entries, err := os.ReadDir(b.target)
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("the strange folder has got %v", entries)
	}

	unswap(t, b.target, moved)
	must(t, b.Check())
	must(t, b.remove(t, "a/k"))
	wantAbsent(t, b.target, "a/k")
}

// One that was emptied, mark and all, is as strange.
func TestATargetThatWasEmptied(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	must(t, b.Keep(t.Context(), aMark(), true))
	must(t, os.RemoveAll(filepath.Join(b.target, stagingRoot)))
	wantError(t, b.remove(t, "a"), ErrElsewhere)
	another := aMark()
	other, err := openTarget(b.target, slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, other.keep(another, true))
	must(t, other.close())
	wantError(t, b.remove(t, "a"), ErrElsewhere)
	must(t, os.WriteFile(filepath.Join(b.target, stagingRoot, markName), []byte("?"), 0o600))
	wantError(t, b.remove(t, "a"), ErrElsewhere)
}

// A target that has moved, with its mark, is gone on in, and the one before is
// let go of.
func TestATargetThatMoved(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	must(t, b.Keep(t.Context(), aMark(), true))
	write(t, b.source, "k", "bytes")
	before := b.Files.target.now
	moved := swap(t, b.target, true)
	_, err := b.sync(t, "k", "")
	must(t, err)
	wantContent(t, b.target, "k", "bytes")
	wantAbsent(t, moved, "k")
	if err := before.root.Close(); err == nil {
		t.Error("the folder that was moved away is still held open")
	}
}

// held is the name of a folder that a naive twin holds by handle.
func held(t *testing.T, folder string) string {
	t.Helper()
	name, err := unguarded.Folder(folder)
	must(t, err)
	return name
}

// replaced plays a run in the middle of which another folder gets the name of
// the target.
func replaced(t *testing.T, byHandle bool, at string, act func(t *testing.T, run Run) error) (*filesBundle, error) {
	t.Helper()
	var b *filesBundle
	swapped, target := false, t.TempDir()
	b = setupFiles(t, func(c *filesSetup) {
		c.Target = target
		if byHandle {
			c.Target = held(t, target)
		}
		c.TestHook = func(point string) {
			if point == at && !swapped {
				swapped = true
				swap(t, b.target, true)
			}
		}
	})
	b.target = target
	must(t, b.Keep(t.Context(), aMark(), true))
	write(t, b.source, "k", "new")
	write(t, b.target, "k", "old")
	run, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	err = act(t, run)
	must(t, run.Close())
	if !swapped {
		t.Fatalf("nobody came to %s", at)
	}
	return b, err
}

// Whatever the moment at which it is replaced: a run does not say that it is done
// when it was in the other folder.
func TestATargetReplacedDuringARun(t *testing.T) {
	t.Parallel()
	publish := func(t *testing.T, run Run) error {
		t.Helper()
		if _, err := run.Copy(t.Context(), nil); err != nil {
			return err
		}
		return run.Publish(t.Context())
	}
	remove := func(t *testing.T, run Run) error { t.Helper(); return run.Remove(t.Context()) }
	for at, act := range map[string]func(*testing.T, Run) error{
		pointMade: publish, pointStaged: publish, pointBeforePublish: publish, pointPublished: publish,
		pointBeforeRemove: remove, pointRemoved: remove,
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			_, err := replaced(t, false, at, act)
			wantError(t, err, ErrElsewhere)
		})
		if at == pointPublished || at == pointRemoved {
			continue // the copy has it
		}
		t.Run("twin/"+at, func(t *testing.T) {
			t.Parallel()
			b, err := replaced(t, true, at, act)
			must(t, err)
			wantContent(t, b.target, "k", "old")
		})
	}
}

// A source is read where its name leads to.
func TestASourceThatIsReplaced(t *testing.T) {
	t.Parallel()
	for _, twin := range []bool{true, false} {
		b := setupFiles(t, func(c *filesSetup) {
			if twin {
				c.SourceURL = held(t, c.SourceURL)
			}
		})
		write(t, b.source, "k", "old")
		swap(t, b.source, false)
		write(t, b.source, "k", "new")
		_, err := b.sync(t, "k", "")
		must(t, err)
		wantContent(t, b.target, "k", map[bool]string{true: "old", false: "new"}[twin])
	}
}

func TestASourceReplacedDuringACopy(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "old")
	b.Files.source = meddler{b.Files.source, sync.OnceFunc(func() {
		swap(t, b.source, false)
		write(t, b.source, "k", "new")
	})}
	_, err := b.sync(t, "k", "")
	wantError(t, err, ErrChanged)
	_, err = b.sync(t, "k", string(named("new")))
	must(t, err)
}

// A source that is not mounted any more has nothing to say of what it lacks.
func TestASourceThatIsUnmounted(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source")
	mountTmpfs(t, source, "size=64k")
	write(t, source, "k", "bytes")
	b := setupFiles(t, func(c *filesSetup) { c.SourceURL = source })
	must(t, unix.Unmount(source, unix.MNT_DETACH))
	_, err := b.sync(t, "k", "")
	wantError(t, err, ErrElsewhere)
	wantError(t, b.Check(), ErrElsewhere)
	must(t, unix.Mount("tmpfs", source, "tmpfs", 0, "size=64k"))
	must(t, b.Check())
	_, err = b.sync(t, "k", "")
	wantError(t, err, ErrMissing)
	write(t, source, "k", "again")
	_, err = b.sync(t, "k", "")
	must(t, err)
	wantContent(t, b.target, "k", "again")
}

// A repository in place is updated only in the folder that has the name, and so is
// its source read.
func TestRepositoriesInReplacedFolders(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	must(t, b.Keep(t.Context(), Mark{ID: claim(), Transfer: "git", Home: "here"}, true))
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	commit(t, dir, "refs/heads/main", "two")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	must(t, err)
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	moved := swap(t, b.target, false)
	wantError(t, run.Publish(t.Context()), ErrElsewhere)
	must(t, run.Close())
	wantError(t, b.Check(), ErrElsewhere)
	wantError(t, b.Verify(t.Context(), b.place("r.git"), nil, ""), ErrElsewhere)
	wantError(t, b.remove(t, "r.git"), ErrElsewhere)
	unswap(t, b.target, moved)
	b.mustSync(t, "r.git")
	b.wantSame(t, "r.git")

	remote, err := b.Repositories.source.remote("r.git")
	must(t, err)
	must(t, remote.unchanged())
	swap(t, b.source, false)
	wantError(t, remote.unchanged(), ErrChanged)
	remote.close()
	_, err = b.sync(t, b.place("r.git"))
	wantError(t, err, ErrMissing)
}
