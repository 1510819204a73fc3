package localrun

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree is a folder of a test, with git.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) tree {
	t.Helper()
	dir, err := canonical(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return tree{t, dir}
}

func (f tree) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f tree) git(args ...string) string {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = f.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// snap takes a snapshot, has it cloned as a runner does, and returns the clone. The folder
// is as it was before.
func (f tree) snap() (*snapshot, tree) {
	f.t.Helper()
	before := f.state()
	p := &place{dir: newTree(f.t).dir}
	s, err := takeSnapshot(f.t.Context(), f.dir, p, new(exec.Cmd).Environ())
	if err != nil {
		f.t.Fatal(err)
	}
	if after := f.state(); after != before {
		f.t.Errorf("the folder was\n%s\nand is\n%s", before, after)
	}
	clone := newTree(f.t)
	clone.git("clone", "--quiet", "--depth", "20", "file://"+s.dir, ".")
	if head := clone.git("rev-parse", "HEAD"); head != s.sha {
		f.t.Errorf("the clone is at %s, not at %s", head, s.sha)
	}
	return s, clone
}

// state is everything below the folder, with sizes and times: but not those of objects,
// which git renews when it is asked to write one that is there.
func (f tree) state() string {
	f.t.Helper()
	out, err := exec.CommandContext(f.t.Context(), "find", f.dir,
		"-path", "*/.git/objects/*", "-printf", `%p %s %m\n`, "-o", "-printf", `%p %s %m %C@\n`).Output()
	if err != nil {
		f.t.Fatal(err)
	}
	return string(out)
}

// files are the files of a clone.
func (f tree) files() string { return strings.Join(strings.Fields(f.git("ls-files")), " ") }

func TestSnapshotOfAFolderThatIsNoRepository(t *testing.T) {
	t.Parallel()
	f := newTree(t)
	f.write("a", "a")
	f.write("sub/-b", "b")
	f.write("sub/ignored", "c")
	f.write("sub/.gitignore", "ignored")
	f.write("line\nbreak", "d")
	s, clone := f.snap()
	if got := clone.files(); got != `a "line\nbreak" sub/-b sub/.gitignore` || s.branch != "main" || s.before != "" {
		t.Errorf("got %s, %+v", got, s)
	}
}

func TestSnapshotOfPartOfARepository(t *testing.T) {
	t.Parallel()
	f := newTree(t)
	f.git("init", "--quiet", "-b", "main")
	f.write("above", "a")
	f.write("sub/b", "b")
	f.write(".gitignore", "*.o")
	f.write("sub/c.o", "c")
	f.git("add", ".")
	f.git("commit", "--quiet", "-m", "first")
	f.dir = filepath.Join(f.dir, "sub")
	f.write("new", "n")
	if s, clone := f.snap(); clone.files() != "b new" || s.before != "" {
		t.Errorf("got %s, on %q", clone.files(), s.before)
	}
}

func TestSnapshotOfACleanRepositoryIsItsCommit(t *testing.T) {
	t.Parallel()
	f := newTree(t)
	f.git("init", "--quiet", "-b", "feature/x")
	f.write("a", "a")
	f.git("add", ".")
	f.git("commit", "--quiet", "-m", "first")
	s, clone := f.snap()
	if s.sha != f.git("rev-parse", "HEAD") || s.branch != "feature/x" || s.title != "first" || clone.files() != "a" {
		t.Errorf("got %+v", s)
	}
}

// What is there when git is in the middle of something, and what git knows in its own way.
func TestSnapshotIsTheWorkingTree(t *testing.T) {
	t.Parallel()
	other := newTree(t)
	other.git("init", "--quiet")
	other.write("inside", "x")
	other.git("add", ".")
	other.git("commit", "--quiet", "-m", "module")

	f := newTree(t)
	f.git("init", "--quiet", "-b", "main")
	for _, name := range []string{"both", "gone", "folder/file", "forced.log"} {
		f.write(name, "first")
	}
	f.write(".gitignore", "*.log\n")
	f.git("add", "--force", ".")
	f.git("submodule", "--quiet", "add", "file://"+other.dir, "module")
	f.git("commit", "--quiet", "-m", "first")
	f.git("switch", "--quiet", "-c", "side")
	f.write("both", "side")
	f.git("commit", "--quiet", "-am", "side")
	f.git("switch", "--quiet", "main")
	f.write("both", "main")
	f.git("commit", "--quiet", "-am", "main")
	if out, err := exec.CommandContext(t.Context(), "git", "-C", f.dir, "merge", "side").CombinedOutput(); err == nil {
		t.Fatalf("the merge has no conflict: %s", out)
	}
	f.write("both", "half merged")
	f.write("forced.log", "changed")
	f.write("not.log", "ignored")
	f.write("module/inside", "changed")
	f.write("nested/.git/HEAD", "ref: refs/heads/main")
	f.git("init", "--quiet", "nested")
	for _, err := range []error{
		os.Remove(filepath.Join(f.dir, "gone")), os.RemoveAll(filepath.Join(f.dir, "folder")),
		os.Symlink("both", filepath.Join(f.dir, "folder")), os.WriteFile(filepath.Join(f.dir, "run"), []byte("#!/bin/sh\n"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, clone := f.snap()
	if got := clone.git("ls-files", "--stage"); strings.Count(got, "\n") != 6 || !strings.Contains(got, "120000") || !strings.Contains(got, "160000") || !strings.Contains(got, "100755") {
		t.Errorf("the clone has\n%s", got)
	}
	if got := clone.files(); got != ".gitignore .gitmodules both folder forced.log module run" {
		t.Errorf("the clone has %s", got)
	}
	if got := clone.git("show", "HEAD:both", "HEAD:forced.log"); got != "half mergedchanged" {
		t.Errorf("the files have %s", got)
	}
	if got := strings.Join(s.notes, "; "); got != "submodule module is empty in jobs, unless they fetch it; nested/ is a repository of its own, and left out" {
		t.Errorf("notes: %s", got)
	}
	if got := clone.git("log", "--format=%s"); got != "The working tree\nmain\nfirst" {
		t.Errorf("the history is %s", got)
	}
}

// A work tree of its own, of a clone without all of the history.
func TestSnapshotOfAWorktreeOfAShallowClone(t *testing.T) {
	t.Parallel()
	origin := newTree(t)
	origin.git("init", "--quiet", "-b", "main")
	for _, text := range []string{"1", "2", "3"} {
		origin.write("a", text)
		origin.git("add", ".")
		origin.git("commit", "--quiet", "-m", text)
	}
	shallow, f := newTree(t), newTree(t)
	shallow.git("clone", "--quiet", "--depth", "2", "file://"+origin.dir, ".")
	shallow.git("worktree", "add", "--quiet", "-b", "side", filepath.Join(f.dir, "tree"))
	f.dir = filepath.Join(f.dir, "tree")
	f.write("a", "changed")
	s, clone := f.snap()
	if got := clone.git("log", "--format=%s"); got != "The working tree\n3\n2" || s.branch != "side" {
		t.Errorf("the history is %s, on %s", got, s.branch)
	}
}

// The run's own folder may be in the folder that it runs.
func TestSnapshotLeavesItselfOut(t *testing.T) {
	t.Parallel()
	f := newTree(t)
	f.write("a", "a")
	f.write("tmp/run/config.toml", "secret")
	s, err := takeSnapshot(t.Context(), f.dir, &place{dir: filepath.Join(f.dir, "tmp", "run")}, new(exec.Cmd).Environ())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.git("--git-dir", s.dir, "ls-tree", "-r", "--name-only", s.sha); got != "a" {
		t.Errorf("the snapshot has %s", got)
	}
}

// Before the first commit there is nothing to stand on.
func TestSnapshotBeforeTheFirstCommit(t *testing.T) {
	t.Parallel()
	f := newTree(t)
	f.git("init", "--quiet", "-b", "start")
	f.write("a", "a")
	if s, clone := f.snap(); clone.files() != "a" || s.branch != "start" || s.before != "" {
		t.Errorf("got %s, %+v", clone.files(), s)
	}
}
