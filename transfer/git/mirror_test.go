package git

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

func TestRepositoryManyRefs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.inPlace = 20
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	var script strings.Builder
	for i := range 21 {
		fmt.Fprintf(&script, "create refs/merge-requests/%d/head refs/heads/main\n", i)
	}
	before := inode(t, filepath.Join(b.target, "r.git"))
	updateRefs(t, dir, script.String())
	b.mustSync(t, "r.git")
	if inode(t, filepath.Join(b.target, "r.git")) == before {
		t.Fatal("21 refs were changed in place, want a clone")
	}
	updateRefs(t, dir, strings.ReplaceAll(script.String(), "merge-requests/", "pull/")[:len("create refs/pull/0/head refs/heads/main\n")])
	before = inode(t, filepath.Join(b.target, "r.git"))
	b.mustSync(t, "r.git")
	if inode(t, filepath.Join(b.target, "r.git")) != before {
		t.Fatal("one ref was cloned")
	}
}

// A copy tells how much of a mirror was there before, so that nobody counts a whole
// repository for a push.
func TestRepositoryTellsWhatWasHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	first := b.mustSync(t, "r.git")
	if first.Held != 0 || first.Size == 0 {
		t.Errorf("a clone held %d of %d bytes", first.Held, first.Size)
	}
	updateRefs(t, dir, "create refs/heads/same refs/heads/main\n")
	if second := b.mustSync(t, "r.git"); second.Size-second.Held != 0 || second.Size != first.Size {
		t.Errorf("a ref without objects: %d bytes, of which %d were held", second.Size, second.Held)
	}
}

func updateRefs(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "update-ref", "--stdin")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	transfertest.Must(t, unix.Stat(path, &st))
	return st.Ino
}

func TestRepositoryIsRepacked(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	pack := b.target + "/r.git/objects/pack"
	for i := range manyPacks {
		oid := transfertest.Commit(t, dir, "refs/heads/main", fmt.Sprint(i))
		cmd := exec.CommandContext(t.Context(), "git", "pack-objects", "--quiet", filepath.Join(pack, "pack"))
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(oid+"\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	b.mustSync(t, "r.git")
	left, err := filepath.Glob(pack + "/*.pack")
	transfertest.Must(t, err)
	if len(left) >= manyPacks/2 {
		t.Fatalf("%d packs are left", len(left))
	}
}

func TestRepositoryHealsLeftOvers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	main := transfertest.Git(t, dir, "rev-parse", "main")
	transfertest.Git(t, place, "update-ref", "refs/casq/00000000-0000-0000-0000-000000000002/fence", main)
	transfertest.Git(t, place, "pack-refs", "--all")
	for _, name := range []string{
		"HEAD.lock", "packed-refs.lock", "packed-refs.new", "config.lock", "shallow.lock", "gc.pid",
		"refs/heads/main.lock", "refs/heads/deep/er.lock", "objects/pack/tmp_pack_Xy12", "objects/pack/.tmp-1-pack-x.pack",
		"objects/tmp_objdir-incoming-x/00/file", "objects/pack/pack-of-a-killed-fetch.keep", "objects/info/commit-graph.lock",
		"refs/casq/00000000-0000-0000-0000-000000000000/fence", // empty, as after a power cut
	} {
		transfertest.Write(t, place, name, "")
	}
	transfertest.Write(t, place, "refs/casq/00000000-0000-0000-0000-000000000001/0/refs/heads/x", main+"\n")
	before := inode(t, place)
	transfertest.Commit(t, dir, "refs/heads/main", "two")
	b.mustSync(t, "r.git")
	if inode(t, place) != before {
		t.Fatal("left-overs led to a clone")
	}
	left, err := exec.CommandContext(t.Context(), "find", place, "-name", "*.lock", "-o", "-name", "*tmp*", "-o", "-name", "gc.pid", "-o", "-name", "*.keep", "-o", "-name", "casq").Output()
	transfertest.Must(t, err)
	if len(left) > 0 {
		t.Fatalf("left over: %s", left)
	}
}

func TestRepositoryReplacesUnusable(t *testing.T) {
	t.Parallel()
	damage := map[string]func(t *testing.T, place string){
		"a stranger's": func(t *testing.T, place string) {
			transfertest.Must(t, os.RemoveAll(place))
			transfertest.Must(t, os.MkdirAll(place, 0o755))
			transfertest.Git(t, place, "init", "--quiet", "--bare")
		},
		"config that runs a program": func(t *testing.T, place string) {
			transfertest.AppendTo(t, place+"/config", "[core]\n\tsshCommand = touch /tmp/pwned\n")
		},
		"HEAD gone": func(t *testing.T, place string) { transfertest.Must(t, os.Remove(place+"/HEAD")) },
		"HEAD garbage": func(t *testing.T, place string) {
			transfertest.Must(t, os.WriteFile(place+"/HEAD", []byte("ref: ../x"), 0o644))
		},
		"refs gone": func(t *testing.T, place string) { transfertest.Must(t, os.RemoveAll(place+"/refs")) },
		"empty ref": func(t *testing.T, place string) {
			transfertest.Must(t, os.WriteFile(place+"/refs/heads/main", nil, 0o644))
		},
		"alternates": func(t *testing.T, place string) {
			transfertest.Write(t, place, "objects/info/alternates", "/elsewhere\n")
		},
		"objects gone": func(t *testing.T, place string) { transfertest.Must(t, os.RemoveAll(place+"/objects")) },
		"packs gone":   func(t *testing.T, place string) { transfertest.Must(t, os.RemoveAll(place+"/objects/pack")) },
		"no packs": func(t *testing.T, place string) {
			transfertest.Must(t, os.RemoveAll(place+"/objects/pack"))
			transfertest.Must(t, os.Mkdir(place+"/objects/pack", 0o755))
		},
		"pack truncated": func(t *testing.T, place string) {
			packs, err := filepath.Glob(place + "/objects/pack/*.pack")
			transfertest.Must(t, err)
			transfertest.Must(t, os.Chmod(packs[0], 0o644))
			transfertest.Must(t, os.Truncate(packs[0], 20))
		},
		"empty folders only": func(t *testing.T, place string) {
			transfertest.Must(t, os.RemoveAll(place))
			transfertest.Must(t, os.MkdirAll(place+"/a/b", 0o755))
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			do(t, filepath.Join(b.target, "r.git"))
			transfertest.Commit(t, dir, "refs/heads/main", "two")
			b.mustSync(t, "r.git")
			transfertest.WantNoStaging(t, b.target)
		})
	}
}

// A git process of an earlier claim that is stopped in the middle of a ref
// transaction can not be fenced by refs: the mirror is left to it.
func TestRepositoryLeavesAHeldMirror(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.grace = 50 * time.Millisecond
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	holder, err := os.Open(filepath.Join(place, folder.GuardName))
	transfertest.Must(t, err)
	transfertest.Must(t, unix.Flock(int(holder.Fd()), unix.LOCK_SH))
	before := inode(t, place)
	transfertest.Commit(t, dir, "refs/heads/main", "two")
	b.mustSync(t, "r.git")
	if inode(t, place) == before {
		t.Fatal("the mirror was used although a process holds on to it")
	}
	transfertest.Must(t, holder.Close())
	again, err := os.Open(filepath.Join(place, folder.GuardName))
	transfertest.Must(t, err)
	transfertest.AwaitRelease(t, func() error { return unix.Flock(int(again.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	transfertest.Must(t, again.Close())
	before = inode(t, place)
	b.mustSync(t, "r.git")
	if inode(t, place) != before {
		t.Fatal("cloned again")
	}
}

func TestRepositoryConflicts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.newSource(t, "a")
	b.newSource(t, "n/b")
	b.mustSync(t, "a")
	transfertest.Must(t, os.Rename(filepath.Join(b.source, "n"), filepath.Join(b.source, "a", "n")))
	_, err := b.sync(t, b.place("a/n/b")) // inside the repository "a"
	transfertest.WantError(t, err, transfer.ErrOccupied)
	b.wantSame(t, "a")

	b.newSource(t, "group/x")
	b.mustSync(t, "group/x")
	b.newSource(t, "other")
	transfertest.Must(t, os.RemoveAll(filepath.Join(b.source, "group")))
	transfertest.Must(t, os.Rename(filepath.Join(b.source, "other"), filepath.Join(b.source, "group")))
	_, err = b.sync(t, b.place("group")) // a folder of other repositories
	transfertest.WantError(t, err, transfer.ErrOccupied)
	transfertest.Must(t, b.remove(t, "group")) // the repository "group" is not there
	transfertest.Git(t, b.target+"/group/x", "rev-parse", "main")
	transfertest.Must(t, b.remove(t, "group/x"))
	b.mustSync(t, "group")

	transfertest.Write(t, b.target, "file", "a stranger's")
	b.newSource(t, "file")
	_, err = b.sync(t, b.place("file"))
	transfertest.WantError(t, err, transfer.ErrOccupied)
	transfertest.WantContent(t, b.target, "file", "a stranger's")
	transfertest.WantNoStaging(t, b.target)
}
