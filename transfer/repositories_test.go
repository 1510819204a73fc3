package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/unguarded"
)

type repositoriesBundle struct {
	*Repositories
	source, target string
	unfenced       bool // a naive twin
}

func setupRepositories(t *testing.T, configure ...func(*RepositoriesConfig)) *repositoriesBundle {
	t.Helper()
	b := &repositoriesBundle{source: t.TempDir(), target: t.TempDir()}
	config := RepositoriesConfig{
		SourceURL: b.source, TargetDir: b.target,
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	for _, f := range configure {
		f(&config)
	}
	b.target = config.TargetDir
	repositories, err := OpenRepositories(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { must(t, repositories.Close()) })
	b.Repositories = repositories
	return b
}

// Begin is that of the repositories, or of a naive twin.
func (b *repositoriesBundle) Begin(ctx context.Context, place Place) (run Run, err error) {
	if !b.unfenced {
		return b.Repositories.Begin(ctx, place)
	}
	err = unguarded.Target(b.target).Around(func() (err error) {
		run, err = b.Repositories.Begin(ctx, place)
		return err
	})
	return run, err
}

// unconfine makes git what it is on a kernel without Landlock.
func (b *repositoriesBundle) unconfine(t *testing.T) {
	t.Helper()
	if b.git.confined != nil {
		b.git.confined.close()
		b.git.confined = nil
	}
	b.git.confine(t.Context(), b.config.Logger, false)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (b *repositoriesBundle) place(key string) Place { return Place{Key: key, Claim: claim()} }

func (b *repositoriesBundle) sync(t *testing.T, place Place) (Result, error) {
	t.Helper()
	run, err := b.Begin(t.Context(), place)
	if err != nil {
		return Result{}, err
	}
	result, err := run.Copy(t.Context(), json.RawMessage(`{"clone_url": "ext::sh -c false"}`))
	if err == nil {
		err = run.Publish(t.Context())
	}
	return result, errors.Join(err, run.Close())
}

// mustSync syncs and compares both sides.
func (b *repositoriesBundle) mustSync(t *testing.T, key string) Result {
	t.Helper()
	result, err := b.sync(t, b.place(key))
	must(t, err)
	b.wantSame(t, key)
	return result
}

func (b *repositoriesBundle) remove(t *testing.T, key string) error {
	t.Helper()
	run, err := b.Begin(t.Context(), b.place(key))
	if err != nil {
		return err
	}
	return errors.Join(run.Remove(t.Context()), run.Close())
}

// gitIn runs git in a folder, as the user whose repositories these are.
func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := tryGitIn(dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

func tryGitIn(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
		"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.org")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func gitPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("git")
	must(t, err)
	return path
}

// newSource makes a bare repository with one commit on main.
func (b *repositoriesBundle) newSource(t *testing.T, key string) string {
	t.Helper()
	dir := filepath.Join(b.source, key)
	must(t, os.MkdirAll(dir, 0o755))
	gitIn(t, dir, "init", "--quiet", "--bare")
	commit(t, dir, "refs/heads/main", "one")
	return dir
}

// commit puts a commit on a ref of a bare repository and returns its id.
func commit(t *testing.T, dir, ref, message string) string {
	t.Helper()
	tree := gitIn(t, dir, "hash-object", "-w", "-t", "tree", "/dev/null")
	args := []string{"commit-tree", tree, "-m", message}
	if parent, err := tryGitIn(dir, "rev-parse", "--verify", "--quiet", ref); err == nil {
		args = append(args, "-p", strings.TrimSpace(parent))
	}
	oid := gitIn(t, dir, args...)
	gitIn(t, dir, "update-ref", ref, oid)
	return oid
}

// state is all that can be seen of a repository.
func state(t *testing.T, dir string) string {
	t.Helper()
	headText, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	must(t, err)
	return gitIn(t, dir, "for-each-ref", "--format=%(objectname) %(refname)") + "\nHEAD " + string(headText)
}

func (b *repositoriesBundle) wantSame(t *testing.T, key string) {
	t.Helper()
	want, got := state(t, filepath.Join(b.source, key)), state(t, filepath.Join(b.target, key))
	if want != got {
		t.Fatalf("source:\n%s\ntarget:\n%s", want, got)
	}
	gitIn(t, filepath.Join(b.target, key), "fsck", "--strict")
}

func TestRepositoryLife(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	const key = "group/project.git"
	dir := b.newSource(t, key)
	steps := []struct {
		name string
		do   func()
	}{
		{"first", func() {}},
		{"nothing new", func() {}},
		{"commit", func() { commit(t, dir, "refs/heads/main", "two") }},
		{"branch, tag and other refs", func() {
			commit(t, dir, "refs/heads/topic", "t")
			gitIn(t, dir, "tag", "-a", "v1", "-m", "v1", "main")
			commit(t, dir, "refs/merge-requests/1/head", "m")
			commit(t, dir, "refs/fence", "the name of a fence")
			commit(t, dir, `refs/heads/we"ird-é`, "w")
		}},
		{"forced back", func() { gitIn(t, dir, "update-ref", "refs/heads/main", "main~1") }},
		{"deleted", func() { gitIn(t, dir, "branch", "-D", "topic") }},
		{"file becomes folder", func() {
			commit(t, dir, "refs/heads/a", "a")
			b.mustSync(t, key)
			gitIn(t, dir, "branch", "-m", "a", "a/b/c")
		}},
		{"folder becomes file", func() { gitIn(t, dir, "branch", "-m", "a/b/c", "a") }},
		{"packed at the source", func() { gitIn(t, dir, "gc", "--quiet") }},
		{"HEAD moves", func() {
			commit(t, dir, "refs/heads/trunk", "trunk")
			gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
		}},
		{"HEAD moves only", func() { gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/main") }},
		{"HEAD detached off all branches", func() {
			oid := commit(t, dir, "refs/heads/gone", "detached")
			gitIn(t, dir, "update-ref", "--no-deref", "HEAD", oid)
			gitIn(t, dir, "update-ref", "-d", "refs/heads/gone")
		}},
		{"HEAD unborn", func() { gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/nothing") }},
		{"all refs gone", func() {
			for line := range strings.Lines(gitIn(t, dir, "for-each-ref", "--format=%(refname)") + "\n") {
				gitIn(t, dir, "update-ref", "-d", strings.TrimSpace(line))
			}
		}},
		{"filled again", func() { commit(t, dir, "refs/heads/nothing", "x") }},
	}
	seen := map[string]string{}
	for _, step := range steps {
		step.do()
		result := b.mustSync(t, key)
		now := state(t, dir)
		if before, known := seen[result.Checksum]; known && before != now {
			t.Fatalf("%s: checksum of another state", step.name)
		}
		seen[result.Checksum] = now
		t.Logf("%s: %+v", step.name, result)
	}
	wantNoStaging(t, b.target)
	wantAbsent(t, b.target, key+"/refs/casq")
	must(t, b.remove(t, key))
	must(t, b.remove(t, key))
	wantAbsent(t, b.target, "group")
	wantNoStaging(t, b.target)
}

func TestRepositoryChecksumIsTheSameHoweverItWasMade(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	commit(t, dir, "refs/heads/main", "two")
	updated := b.mustSync(t, "r.git")
	place := b.place("r.git")
	place.Fresh = true
	cloned, err := b.sync(t, place)
	must(t, err)
	if updated.Checksum != cloned.Checksum || updated.Size <= 0 || cloned.Size <= 0 {
		t.Fatalf("updated %+v, cloned %+v", updated, cloned)
	}
	b.wantSame(t, "r.git")
}

func TestRepositoryEmptyFirst(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := filepath.Join(b.source, "e.git")
	must(t, os.MkdirAll(dir, 0o755))
	gitIn(t, dir, "init", "--quiet", "--bare", "--initial-branch=unborn")
	b.mustSync(t, "e.git")
	b.mustSync(t, "e.git")
	gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/other")
	b.mustSync(t, "e.git")
	commit(t, dir, "refs/heads/other", "x")
	b.mustSync(t, "e.git")
}

func TestRepositorySHA256(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := filepath.Join(b.source, "s.git")
	must(t, os.MkdirAll(dir, 0o755))
	gitIn(t, dir, "init", "--quiet", "--bare", "--object-format=sha256")
	commit(t, dir, "refs/heads/main", "x")
	b.mustSync(t, "s.git")
	commit(t, dir, "refs/heads/main", "y")
	b.mustSync(t, "s.git")
	// The same key with the other format is another repository.
	must(t, os.RemoveAll(dir))
	b.newSource(t, "s.git")
	b.mustSync(t, "s.git")
}

func TestRepositoryWithWorkTree(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := filepath.Join(b.source, "w")
	must(t, os.MkdirAll(dir, 0o755))
	gitIn(t, dir, "init", "--quiet")
	gitIn(t, dir, "commit", "--quiet", "--allow-empty", "-m", "x")
	_, err := b.sync(t, b.place("w"))
	must(t, err)
	if want, got := state(t, dir+"/.git"), state(t, filepath.Join(b.target, "w")); want != got {
		t.Fatalf("source %s target %s", want, got)
	}
}

func TestRepositoryOwnedByAnother(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("giving a repository to another user needs root")
	}
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	must(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chown(path, 65534, 65534))
	}))
	b.mustSync(t, "r.git")
	b.mustSync(t, "r.git")
}

func TestRepositoryMissing(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	write(t, b.source, "plain/file", "x")
	write(t, b.source, "file", "x")
	for _, key := range []string{"none.git", "no/ne", "plain", "file", "file/below"} {
		_, err := b.sync(t, b.place(key))
		wantError(t, err, ErrMissing)
		wantAbsent(t, b.target, key)
	}
	wantNoStaging(t, b.target)
}

func TestRepositorySourceThatLeadsElsewhere(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	outside := t.TempDir()
	gitIn(t, outside, "init", "--quiet", "--bare")
	must(t, os.Symlink(outside, filepath.Join(b.source, "link.git")))
	write(t, b.source, "gitfile/.git", "gitdir: "+outside+"\n")
	b.newSource(t, "worktree.git")
	write(t, b.source, "worktree.git/commondir", outside+"\n")
	b.newSource(t, "objects.git")
	must(t, os.RemoveAll(b.source+"/objects.git/objects"))
	must(t, os.Symlink(outside+"/objects", b.source+"/objects.git/objects"))
	for _, key := range []string{"link.git", "gitfile", "worktree.git", "objects.git"} {
		_, err := b.sync(t, b.place(key))
		wantError(t, err, ErrUnsafe)
		wantAbsent(t, b.target, key)
	}
}

func TestRepositoryPayload(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	b.newSource(t, "r.git")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	must(t, err)
	for _, payload := range []string{`[]`, `null`, `7`, `{`} {
		_, err = run.Copy(t.Context(), json.RawMessage(payload))
		wantError(t, err, ErrBadPayload)
	}
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	_, err = run.Copy(t.Context(), nil) // again
	must(t, err)
	must(t, run.Publish(t.Context()))
	must(t, run.Publish(t.Context()))
	must(t, run.Close())
	b.wantSame(t, "r.git")
}

func TestRepositoryCopyTwiceInPlace(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	must(t, err)
	commit(t, dir, "refs/heads/a", "a")
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	gitIn(t, dir, "update-ref", "-d", "refs/heads/a")
	commit(t, dir, "refs/heads/a/b", "b")
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	must(t, run.Publish(t.Context()))
	must(t, run.Close())
	b.wantSame(t, "r.git")
	wantAbsent(t, b.target, "r.git/refs/casq")
}

// A mirror of a mirror of ours must not take over the fences of the first.
func TestRepositoryOfMirror(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	dir := b.newSource(t, "r.git")
	gitIn(t, dir, "update-ref", "refs/casq/x/fence", "refs/heads/main")
	for range 2 {
		_, err := b.sync(t, b.place("r.git"))
		must(t, err)
		got := gitIn(t, filepath.Join(b.target, "r.git"), "for-each-ref", "--format=%(refname)")
		if got != "refs/heads/main" {
			t.Fatalf("refs are %q", got)
		}
		commit(t, dir, "refs/heads/main", "more")
		gitIn(t, dir, "update-ref", "refs/casq/x/fence", "refs/heads/main")
		gitIn(t, dir, "update-ref", "refs/heads/main", "main~1")
	}
}

// moving is a git that commits to the source before each listing.
func TestRepositorySourceThatMoves(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	script := filepath.Join(t.TempDir(), "moving-git")
	must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
for arg; do case $arg in ls-remote)
  GIT_DIR=%[1]s/r.git; export GIT_DIR
  %[2]s update-ref refs/heads/moving/$$ $(%[2]s rev-parse main)
  GIT_DIR=/nonexistent;;
esac; done
exec %[2]s "$@"
`, source, gitPath(t)), 0o755))
	b := setupRepositories(t, func(c *RepositoriesConfig) { c.SourceURL, c.GitPath = source, script })
	b.source = source
	b.newSource(t, "r.git")
	for range 2 { // a clone, and an update
		result, err := b.sync(t, b.place("r.git"))
		must(t, err)
		dir := filepath.Join(b.target, "r.git")
		listed := parseRefs(gitIn(t, dir, "for-each-ref", "--format=%(objectname) %(refname)")+"\n", "")
		if result.Checksum != listed.checksum("ref: refs/heads/main") {
			t.Fatal("the checksum is not that of what is in place")
		}
		if len(listed) < 2 {
			t.Fatalf("refs are %v", listed)
		}
		wantAbsent(t, dir, "refs/casq")
	}
}

// Refs that come and go beside keep no other from being copied.
func TestRepositoryRefsThatVanish(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	dir := filepath.Join(source, "r.git")
	beside := 0
	churn := func(point string) {
		if point != pointListed || beside == 0 {
			return
		}
		// Whoever has listed them finds other names now.
		for i := range 3 {
			gitIn(t, dir, "update-ref", "-d", fmt.Sprintf("refs/heads/short-lived/%d", beside+i))
			gitIn(t, dir, "update-ref", fmt.Sprintf("refs/heads/short-lived/%d", beside+3+i), "refs/heads/main")
		}
		beside += 3
	}
	b := setupRepositories(t, func(c *RepositoriesConfig) { c.SourceURL, c.TestHook = source, churn })
	b.source = source
	b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	for _, fresh := range []bool{false, true} {
		beside = 1000
		for i := range 3 {
			gitIn(t, dir, "update-ref", fmt.Sprintf("refs/heads/short-lived/%d", beside+i), "refs/heads/main")
		}
		want := commit(t, dir, "refs/heads/main", "before the copy")
		place := b.place("r.git")
		place.Fresh = fresh
		_, err := b.sync(t, place)
		must(t, err)
		if got := gitIn(t, filepath.Join(b.target, "r.git"), "rev-parse", "refs/heads/main"); got != want {
			t.Errorf("fresh: %v: main is %s, want %s", fresh, got, want)
		}
		beside = 0
		b.mustSync(t, "r.git")
	}
}

// A ref that is there whenever it is listed, and never when it is fetched, must
// not be left as it was before.
func TestRepositoryRefThatIsNeverThere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"refs/heads/main", "HEAD"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := t.TempDir()
			dir := filepath.Join(source, "r.git")
			var hide, show func()
			hidden, active := false, false
			b := setupRepositories(t, func(c *RepositoriesConfig) {
				c.SourceURL = source
				c.TestHook = func(point string) {
					if point == pointListed && active {
						map[bool]func(){false: hide, true: show}[hidden]()
						hidden = !hidden
					}
				}
			})
			b.source = source
			b.newSource(t, "r.git")
			commit(t, dir, "refs/heads/other", "other")
			b.mustSync(t, "r.git")
			before := state(t, filepath.Join(b.target, "r.git"))
			newer := commit(t, dir, "refs/heads/more", "newer")
			if name == "HEAD" {
				show = func() { gitIn(t, dir, "update-ref", "--no-deref", "HEAD", newer) }
				hide = func() { gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/unborn") }
			} else {
				show = func() { gitIn(t, dir, "update-ref", "refs/heads/main", newer) }
				hide = func() { gitIn(t, dir, "update-ref", "-d", "refs/heads/main") }
			}
			show()
			active = true
			_, err := b.sync(t, b.place("r.git"))
			wantError(t, err, ErrChanged)
			if after := state(t, filepath.Join(b.target, "r.git")); after != before {
				t.Errorf("it was published: %s", after)
			}
			active = false
			show()
			b.mustSync(t, "r.git")
		})
	}
}
