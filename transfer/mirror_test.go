package transfer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRepositoryManyRefs(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
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
	must(t, unix.Stat(path, &st))
	return st.Ino
}

func TestRepositoryIsRepacked(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	pack := b.target + "/r.git/objects/pack"
	for i := range manyPacks {
		oid := commit(t, dir, "refs/heads/main", fmt.Sprint(i))
		cmd := exec.CommandContext(t.Context(), "git", "pack-objects", "--quiet", filepath.Join(pack, "pack"))
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(oid+"\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	b.mustSync(t, "r.git")
	left, err := filepath.Glob(pack + "/*.pack")
	must(t, err)
	if len(left) >= manyPacks/2 {
		t.Fatalf("%d packs are left", len(left))
	}
}

func TestRepositoryHealsLeftOvers(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	main := gitIn(t, dir, "rev-parse", "main")
	gitIn(t, place, "update-ref", "refs/casq/00000000-0000-0000-0000-000000000002/fence", main)
	gitIn(t, place, "pack-refs", "--all")
	for _, name := range []string{
		"HEAD.lock", "packed-refs.lock", "packed-refs.new", "config.lock", "shallow.lock", "gc.pid",
		"refs/heads/main.lock", "refs/heads/deep/er.lock", "objects/pack/tmp_pack_Xy12", "objects/pack/.tmp-1-pack-x.pack",
		"objects/tmp_objdir-incoming-x/00/file", "objects/pack/pack-of-a-killed-fetch.keep", "objects/info/commit-graph.lock",
		"refs/casq/00000000-0000-0000-0000-000000000000/fence", // empty, as after a power cut
	} {
		write(t, place, name, "")
	}
	write(t, place, "refs/casq/00000000-0000-0000-0000-000000000001/0/refs/heads/x", main+"\n")
	before := inode(t, place)
	commit(t, dir, "refs/heads/main", "two")
	b.mustSync(t, "r.git")
	if inode(t, place) != before {
		t.Fatal("left-overs led to a clone")
	}
	left, err := exec.CommandContext(t.Context(), "find", place, "-name", "*.lock", "-o", "-name", "*tmp*", "-o", "-name", "gc.pid", "-o", "-name", "*.keep", "-o", "-name", "casq").Output()
	must(t, err)
	if len(left) > 0 {
		t.Fatalf("left over: %s", left)
	}
}

func TestRepositoryReplacesUnusable(t *testing.T) {
	t.Parallel()
	damage := map[string]func(t *testing.T, place string){
		"a stranger's": func(t *testing.T, place string) {
			must(t, os.RemoveAll(place))
			must(t, os.MkdirAll(place, 0o755))
			gitIn(t, place, "init", "--quiet", "--bare")
		},
		"config that runs a program": func(t *testing.T, place string) {
			appendTo(t, place+"/config", "[core]\n\tsshCommand = touch /tmp/pwned\n")
		},
		"HEAD gone":    func(t *testing.T, place string) { must(t, os.Remove(place+"/HEAD")) },
		"HEAD garbage": func(t *testing.T, place string) { must(t, os.WriteFile(place+"/HEAD", []byte("ref: ../x"), 0o644)) },
		"refs gone":    func(t *testing.T, place string) { must(t, os.RemoveAll(place+"/refs")) },
		"empty ref":    func(t *testing.T, place string) { must(t, os.WriteFile(place+"/refs/heads/main", nil, 0o644)) },
		"alternates":   func(t *testing.T, place string) { write(t, place, "objects/info/alternates", "/elsewhere\n") },
		"objects gone": func(t *testing.T, place string) { must(t, os.RemoveAll(place+"/objects")) },
		"packs gone":   func(t *testing.T, place string) { must(t, os.RemoveAll(place+"/objects/pack")) },
		"no packs": func(t *testing.T, place string) {
			must(t, os.RemoveAll(place+"/objects/pack"))
			must(t, os.Mkdir(place+"/objects/pack", 0o755))
		},
		"pack truncated": func(t *testing.T, place string) {
			packs, err := filepath.Glob(place + "/objects/pack/*.pack")
			must(t, err)
			must(t, os.Chmod(packs[0], 0o644))
			must(t, os.Truncate(packs[0], 20))
		},
		"empty folders only": func(t *testing.T, place string) {
			must(t, os.RemoveAll(place))
			must(t, os.MkdirAll(place+"/a/b", 0o755))
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			do(t, filepath.Join(b.target, "r.git"))
			commit(t, dir, "refs/heads/main", "two")
			b.mustSync(t, "r.git")
			wantNoStaging(t, b.target)
		})
	}
}

// A git process of an earlier claim that is stopped in the middle of a ref
// transaction can not be fenced by refs: the mirror is left to it.
func TestRepositoryLeavesAHeldMirror(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	b.grace = 50 * time.Millisecond
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	place := filepath.Join(b.target, "r.git")
	holder, err := os.Open(filepath.Join(place, guardName))
	must(t, err)
	must(t, unix.Flock(int(holder.Fd()), unix.LOCK_SH))
	before := inode(t, place)
	commit(t, dir, "refs/heads/main", "two")
	b.mustSync(t, "r.git")
	if inode(t, place) == before {
		t.Fatal("the mirror was used although a process holds on to it")
	}
	must(t, holder.Close())
	again, err := os.Open(filepath.Join(place, guardName))
	must(t, err)
	awaitRelease(t, func() error { return unix.Flock(int(again.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	must(t, again.Close())
	before = inode(t, place)
	b.mustSync(t, "r.git")
	if inode(t, place) != before {
		t.Fatal("cloned again")
	}
}

func TestRepositoryConflicts(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	b.newSource(t, "a")
	b.newSource(t, "n/b")
	b.mustSync(t, "a")
	must(t, os.Rename(filepath.Join(b.source, "n"), filepath.Join(b.source, "a", "n")))
	_, err := b.sync(t, b.place("a/n/b")) // inside the repository "a"
	wantError(t, err, ErrOccupied)
	b.wantSame(t, "a")

	b.newSource(t, "group/x")
	b.mustSync(t, "group/x")
	b.newSource(t, "other")
	must(t, os.RemoveAll(filepath.Join(b.source, "group")))
	must(t, os.Rename(filepath.Join(b.source, "other"), filepath.Join(b.source, "group")))
	_, err = b.sync(t, b.place("group")) // a folder of other repositories
	wantError(t, err, ErrOccupied)
	must(t, b.remove(t, "group")) // the repository "group" is not there
	gitIn(t, b.target+"/group/x", "rev-parse", "main")
	must(t, b.remove(t, "group/x"))
	b.mustSync(t, "group")

	write(t, b.target, "file", "a stranger's")
	b.newSource(t, "file")
	_, err = b.sync(t, b.place("file"))
	wantError(t, err, ErrOccupied)
	wantContent(t, b.target, "file", "a stranger's")
	wantNoStaging(t, b.target)
}
