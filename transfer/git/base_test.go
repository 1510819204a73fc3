package git

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"

	"golang.org/x/sys/unix"
)

const oldKey, newKey = "group/old.git", "other/new.git"

// packs are the packs of a mirror, by inode.
func packs(t *testing.T, folder, key string) map[uint64]string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, key, "objects", "pack", "*.pack"))
	transfertest.Must(t, err)
	byInode := make(map[uint64]string)
	for _, pack := range found {
		ino, _ := transfertest.Inode(t, pack)
		byInode[ino] = filepath.Base(pack)
	}
	return byInode
}

// moved is a repository that has got another key: the source has it there, with a commit
// more, and the target has a mirror of it under the old one.
func moved(t *testing.T, b *bundle) (place transfer.Place, linked map[uint64]string) {
	t.Helper()
	dir := b.newSource(t, oldKey)
	transfertest.Git(t, dir, "pack-refs", "--all")
	transfertest.Commit(t, dir, "refs/heads/loose", "loose")
	b.mustSync(t, oldKey)
	transfertest.Must(t, os.MkdirAll(filepath.Join(b.source, "other"), 0o755))
	transfertest.Must(t, os.Rename(dir, filepath.Join(b.source, newKey)))
	transfertest.Commit(t, filepath.Join(b.source, newKey), "refs/heads/main", "since")
	place = b.place(newKey)
	place.Base = &transfer.Base{Path: oldKey, Incarnation: 1}
	return place, packs(t, b.target, oldKey)
}

func wantLinked(t *testing.T, b *bundle, key string, linked map[uint64]string) {
	t.Helper()
	have := packs(t, b.target, key)
	for ino, name := range linked {
		if have[ino] == "" {
			t.Errorf("%s has not the pack %s of its base, but %v", key, name, have)
		}
	}
}

func TestAMovedRepositoryIsMadeOfItsMirror(t *testing.T) {
	t.Parallel()
	b := setup(t)
	place, linked := moved(t, b)
	before := transfertest.State(t, filepath.Join(b.target, oldKey))
	result, err := b.sync(t, place)
	transfertest.Must(t, err)
	b.wantSame(t, newKey)
	wantLinked(t, b, newKey, linked)
	if !result.Partial {
		t.Error("it says that everything was compared")
	}
	// What no ref reaches came along, and is not kept for longer.
	ofBase, _ := transfertest.Inode(t, filepath.Join(b.target, oldKey, packedName))
	if of, _ := transfertest.Inode(t, filepath.Join(b.target, newKey, packedName)); of != ofBase {
		t.Error("it does not know when its base was last repacked")
	}
	if after := transfertest.State(t, filepath.Join(b.target, oldKey)); after != before {
		t.Errorf("its base is %s, and was %s", after, before)
	}
	transfertest.Must(t, b.remove(t, oldKey))
	transfertest.Must(t, b.Verify(t.Context(), b.place(newKey), nil, ""))
	b.mustSync(t, newKey)
	transfertest.WantNoStaging(t, b.target)
}

// What another repository is about to replace is put aside, and nothing of the other one
// gets into the moved one. The order of the two runs is of no matter.
func TestAMovedRepositoryIsMadeOfWhatWasPutAside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	place, linked := moved(t, b)
	other := transfertest.Commit(t, b.newSource(t, oldKey), "refs/heads/main", "of somebody else")
	taken := b.place(oldKey)
	taken.Fresh, taken.Aside = true, 1
	_, err := b.sync(t, taken)
	transfertest.Must(t, err)
	b.wantSame(t, oldKey)
	_, err = b.sync(t, place)
	transfertest.Must(t, err)
	b.wantSame(t, newKey)
	wantLinked(t, b, newKey, linked)
	if _, err := transfertest.TryGit(filepath.Join(b.target, newKey), "cat-file", "-e", strings.TrimSpace(other)); err == nil {
		t.Error("it has objects of the repository that has its old key")
	}

	// A run that begins again puts nothing aside a second time.
	again := b.place(oldKey)
	again.Fresh, again.Aside = true, 1
	_, err = b.sync(t, again)
	transfertest.Must(t, err)
	names, err := b.ListAside(t.Context())
	transfertest.Must(t, err)
	if want := []string{transfer.AsideName(oldKey, 1)}; !slices.Equal(names, want) {
		t.Fatalf("aside are %q; want %q", names, want)
	}
	wantLinked(t, b, filepath.Join(transfer.StagingRoot, "moved", names[0]), linked)
	transfertest.Must(t, b.DropAside(t.Context(), names[0]))
	if names, err = b.ListAside(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("aside are %q, %v", names, err)
	}
}

// Two that exchange their keys are each made of the other's place.
func TestTwoRepositoriesExchangeTheirKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Commit(t, b.newSource(t, "a"), "refs/heads/main", "of a")
	transfertest.Commit(t, b.newSource(t, "b"), "refs/heads/main", "of b")
	b.mustSync(t, "a")
	b.mustSync(t, "b")
	ofA, ofB := packs(t, b.target, "a"), packs(t, b.target, "b")
	for _, m := range [][2]string{{"a", "x"}, {"b", "a"}, {"x", "b"}} {
		transfertest.Must(t, os.Rename(filepath.Join(b.source, m[0]), filepath.Join(b.source, m[1])))
	}
	for key, base := range map[string]string{"a": "b", "b": "a"} {
		place := b.place(key)
		place.Fresh, place.Aside, place.Base = true, 1, &transfer.Base{Path: base, Incarnation: 1}
		_, err := b.sync(t, place)
		transfertest.Must(t, err)
		b.wantSame(t, key)
	}
	wantLinked(t, b, "a", ofB)
	wantLinked(t, b, "b", ofA)
}

// A base that is none is no error.
func TestARepositoryIsClonedWithoutItsBase(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"gone": func(t *testing.T, dir string) { t.Helper(); transfertest.Must(t, os.RemoveAll(dir)) },
		"not ours": func(t *testing.T, dir string) {
			t.Helper()
			transfertest.AppendTo(t, filepath.Join(dir, "config"), "[core]\n\tsshCommand = false\n")
		},
		"a ref is broken": func(t *testing.T, dir string) {
			t.Helper()
			transfertest.Write(t, dir, "refs/heads/main", strings.Repeat("1", 40)+"\n")
		},
		"objects are gone": func(t *testing.T, dir string) {
			t.Helper()
			transfertest.Must(t, os.RemoveAll(filepath.Join(dir, "objects", "pack")))
			transfertest.Must(t, os.Mkdir(filepath.Join(dir, "objects", "pack"), 0o755))
		},
		"a link": func(t *testing.T, dir string) {
			t.Helper()
			transfertest.Must(t, os.RemoveAll(filepath.Join(dir, "refs")))
			transfertest.Must(t, os.Symlink("/etc", filepath.Join(dir, "refs")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			place, _ := moved(t, b)
			spoil(t, filepath.Join(b.target, oldKey))
			_, err := b.sync(t, place)
			transfertest.Must(t, err)
			b.wantSame(t, newKey)
			transfertest.Must(t, b.Verify(t.Context(), b.place(newKey), nil, ""))
		})
	}
}

// Where there are no hard links a moved repository's objects are copied.
func TestAMovedRepositoryWithoutHardLinks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	place, _ := moved(t, b)
	b.TargetFolder().UseLinkat(func(int, string, int, string, int) error { return unix.EOPNOTSUPP })
	result, err := b.sync(t, place)
	transfertest.Must(t, err)
	if !result.Partial {
		t.Error("it was cloned anew")
	}
	b.wantSame(t, newKey)
	transfertest.Must(t, b.Verify(t.Context(), b.place(newKey), nil, ""))
}
