package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/transfer"
)

type bundle struct {
	*Repositories
	source, target string
	unfenced       bool // a naive twin
}

func setup(t *testing.T, configure ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{source: t.TempDir(), target: t.TempDir()}
	config := Config{
		SourceURL: b.source, TargetDir: b.target,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range configure {
		f(&config)
	}
	b.target = config.TargetDir
	repositories, err := Open(t.Context(), config)
	transfertest.Must(t, err)
	t.Cleanup(func() { transfertest.Must(t, repositories.Close()) })
	b.Repositories = repositories
	return b
}

// Begin is that of the repositories, or of a naive twin.
func (b *bundle) Begin(ctx context.Context, place transfer.Place) (transfer.Run, error) {
	if b.unfenced {
		return transfertest.Unfenced(b.target, b.Repositories.Begin)(ctx, place)
	}
	return b.Repositories.Begin(ctx, place)
}

// unconfine makes git what it is on a kernel without Landlock.
func (b *bundle) unconfine(t *testing.T) {
	t.Helper()
	if b.git.confined != nil {
		b.git.confined.close()
		b.git.confined = nil
	}
	b.git.confine(t.Context(), b.config.Logger, false)
}

func (b *bundle) place(key string) transfer.Place {
	return transfer.Place{Key: key, Claim: transfertest.NewClaim()}
}

func (b *bundle) sync(t *testing.T, place transfer.Place) (transfer.Result, error) {
	t.Helper()
	return transfertest.Sync(t, b, place, `{"clone_url": "ext::sh -c false"}`)
}

// mustSync syncs and compares both sides.
func (b *bundle) mustSync(t *testing.T, key string) transfer.Result {
	t.Helper()
	result, err := b.sync(t, b.place(key))
	transfertest.Must(t, err)
	b.wantSame(t, key)
	return result
}

func (b *bundle) remove(t *testing.T, key string) error {
	t.Helper()
	return transfertest.Remove(t, b, b.place(key))
}

func (b *bundle) newSource(t *testing.T, key string) string {
	t.Helper()
	return transfertest.NewRepository(t, b.source, key)
}

func (b *bundle) wantSame(t *testing.T, key string) {
	t.Helper()
	transfertest.WantSame(t, b.source, b.target, key)
}

func TestRepositoryLife(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	const key = "group/project.git"
	dir := b.newSource(t, key)
	steps := []struct {
		name string
		do   func()
	}{
		{"first", func() {}},
		{"nothing new", func() {}},
		{"commit", func() { transfertest.Commit(t, dir, "refs/heads/main", "two") }},
		{"branch, tag and other refs", func() {
			transfertest.Commit(t, dir, "refs/heads/topic", "t")
			transfertest.Git(t, dir, "tag", "-a", "v1", "-m", "v1", "main")
			transfertest.Commit(t, dir, "refs/merge-requests/1/head", "m")
			transfertest.Commit(t, dir, "refs/fence", "the name of a fence")
			transfertest.Commit(t, dir, `refs/heads/we"ird-é`, "w")
		}},
		{"forced back", func() { transfertest.Git(t, dir, "update-ref", "refs/heads/main", "main~1") }},
		{"deleted", func() { transfertest.Git(t, dir, "branch", "-D", "topic") }},
		{"file becomes folder", func() {
			transfertest.Commit(t, dir, "refs/heads/a", "a")
			b.mustSync(t, key)
			transfertest.Git(t, dir, "branch", "-m", "a", "a/b/c")
		}},
		{"folder becomes file", func() { transfertest.Git(t, dir, "branch", "-m", "a/b/c", "a") }},
		{"packed at the source", func() { transfertest.Git(t, dir, "gc", "--quiet") }},
		{"HEAD moves", func() {
			transfertest.Commit(t, dir, "refs/heads/trunk", "trunk")
			transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
		}},
		{"HEAD moves only", func() { transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/main") }},
		{"HEAD detached off all branches", func() {
			oid := transfertest.Commit(t, dir, "refs/heads/gone", "detached")
			transfertest.Git(t, dir, "update-ref", "--no-deref", "HEAD", oid)
			transfertest.Git(t, dir, "update-ref", "-d", "refs/heads/gone")
		}},
		{"HEAD unborn", func() { transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/nothing") }},
		{"all refs gone", func() {
			for line := range strings.Lines(transfertest.Git(t, dir, "for-each-ref", "--format=%(refname)") + "\n") {
				transfertest.Git(t, dir, "update-ref", "-d", strings.TrimSpace(line))
			}
		}},
		{"filled again", func() { transfertest.Commit(t, dir, "refs/heads/nothing", "x") }},
	}
	seen := map[string]string{}
	for _, step := range steps {
		step.do()
		result := b.mustSync(t, key)
		now := transfertest.State(t, dir)
		if before, known := seen[result.Checksum]; known && before != now {
			t.Fatalf("%s: checksum of another state", step.name)
		}
		seen[result.Checksum] = now
		t.Logf("%s: %+v", step.name, result)
	}
	transfertest.WantNoStaging(t, b.target)
	transfertest.WantAbsent(t, b.target, key+"/refs/casq")
	transfertest.Must(t, b.remove(t, key))
	transfertest.Must(t, b.remove(t, key))
	transfertest.WantAbsent(t, b.target, "group")
	transfertest.WantNoStaging(t, b.target)
}

func TestRepositoryChecksumIsTheSameHoweverItWasMade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	transfertest.Commit(t, dir, "refs/heads/main", "two")
	updated := b.mustSync(t, "r.git")
	place := b.place("r.git")
	place.Fresh = true
	cloned, err := b.sync(t, place)
	transfertest.Must(t, err)
	if updated.Checksum != cloned.Checksum || updated.Size <= 0 || cloned.Size <= 0 {
		t.Fatalf("updated %+v, cloned %+v", updated, cloned)
	}
	b.wantSame(t, "r.git")
}

func TestRepositoryEmptyFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := filepath.Join(b.source, "e.git")
	transfertest.Must(t, os.MkdirAll(dir, 0o755))
	transfertest.Git(t, dir, "init", "--quiet", "--bare", "--initial-branch=unborn")
	b.mustSync(t, "e.git")
	b.mustSync(t, "e.git")
	transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/other")
	b.mustSync(t, "e.git")
	transfertest.Commit(t, dir, "refs/heads/other", "x")
	b.mustSync(t, "e.git")
}

func TestRepositorySHA256(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := filepath.Join(b.source, "s.git")
	transfertest.Must(t, os.MkdirAll(dir, 0o755))
	transfertest.Git(t, dir, "init", "--quiet", "--bare", "--object-format=sha256")
	transfertest.Commit(t, dir, "refs/heads/main", "x")
	b.mustSync(t, "s.git")
	transfertest.Commit(t, dir, "refs/heads/main", "y")
	b.mustSync(t, "s.git")
	// The same key with the other format is another repository.
	transfertest.Must(t, os.RemoveAll(dir))
	b.newSource(t, "s.git")
	b.mustSync(t, "s.git")
}

func TestRepositoryWithWorkTree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := filepath.Join(b.source, "w")
	transfertest.Must(t, os.MkdirAll(dir, 0o755))
	transfertest.Git(t, dir, "init", "--quiet")
	transfertest.Git(t, dir, "commit", "--quiet", "--allow-empty", "-m", "x")
	_, err := b.sync(t, b.place("w"))
	transfertest.Must(t, err)
	if want, got := transfertest.State(t, dir+"/.git"), transfertest.State(t, filepath.Join(b.target, "w")); want != got {
		t.Fatalf("source %s target %s", want, got)
	}
}

func TestRepositoryOwnedByAnother(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("giving a repository to another user needs root")
	}
	b := setup(t)
	dir := b.newSource(t, "r.git")
	transfertest.Must(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chown(path, 65534, 65534))
	}))
	b.mustSync(t, "r.git")
	b.mustSync(t, "r.git")
}

func TestRepositoryMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "plain/file", "x")
	transfertest.Write(t, b.source, "file", "x")
	for _, key := range []string{"none.git", "no/ne", "plain", "file", "file/below"} {
		_, err := b.sync(t, b.place(key))
		transfertest.WantError(t, err, transfer.ErrMissing)
		transfertest.WantAbsent(t, b.target, key)
	}
	transfertest.WantNoStaging(t, b.target)
}

func TestRepositorySourceThatLeadsElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	outside := t.TempDir()
	transfertest.Git(t, outside, "init", "--quiet", "--bare")
	transfertest.Must(t, os.Symlink(outside, filepath.Join(b.source, "link.git")))
	transfertest.Write(t, b.source, "gitfile/.git", "gitdir: "+outside+"\n")
	b.newSource(t, "worktree.git")
	transfertest.Write(t, b.source, "worktree.git/commondir", outside+"\n")
	b.newSource(t, "objects.git")
	transfertest.Must(t, os.RemoveAll(b.source+"/objects.git/objects"))
	transfertest.Must(t, os.Symlink(outside+"/objects", b.source+"/objects.git/objects"))
	for _, key := range []string{"link.git", "gitfile", "worktree.git", "objects.git"} {
		_, err := b.sync(t, b.place(key))
		transfertest.WantError(t, err, transfer.ErrUnsafe)
		transfertest.WantAbsent(t, b.target, key)
	}
}

func TestRepositoryPayload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.newSource(t, "r.git")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	transfertest.Must(t, err)
	for _, payload := range []string{`[]`, `null`, `7`, `{`} {
		_, err = run.Copy(t.Context(), json.RawMessage(payload))
		transfertest.WantError(t, err, transfer.ErrBadPayload)
	}
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	_, err = run.Copy(t.Context(), nil) // again
	transfertest.Must(t, err)
	transfertest.Must(t, run.Publish(t.Context()))
	transfertest.Must(t, run.Publish(t.Context()))
	transfertest.Must(t, run.Close())
	b.wantSame(t, "r.git")
}

func TestRepositoryCopyTwiceInPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	transfertest.Must(t, err)
	transfertest.Commit(t, dir, "refs/heads/a", "a")
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	transfertest.Git(t, dir, "update-ref", "-d", "refs/heads/a")
	transfertest.Commit(t, dir, "refs/heads/a/b", "b")
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	transfertest.Must(t, run.Publish(t.Context()))
	transfertest.Must(t, run.Close())
	b.wantSame(t, "r.git")
	transfertest.WantAbsent(t, b.target, "r.git/refs/casq")
}

// A mirror of a mirror of ours must not take over the fences of the first.
func TestRepositoryOfMirror(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	transfertest.Git(t, dir, "update-ref", "refs/casq/x/fence", "refs/heads/main")
	for range 2 {
		_, err := b.sync(t, b.place("r.git"))
		transfertest.Must(t, err)
		got := transfertest.Git(t, filepath.Join(b.target, "r.git"), "for-each-ref", "--format=%(refname)")
		if got != "refs/heads/main" {
			t.Fatalf("refs are %q", got)
		}
		transfertest.Commit(t, dir, "refs/heads/main", "more")
		transfertest.Git(t, dir, "update-ref", "refs/casq/x/fence", "refs/heads/main")
		transfertest.Git(t, dir, "update-ref", "refs/heads/main", "main~1")
	}
}

// moving is a git that makes a ref at the source after each clone and before each listing.
func TestRepositorySourceThatMoves(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	script := filepath.Join(t.TempDir(), "moving-git")
	transfertest.Must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
move() { GIT_DIR=%[1]s/r.git %[2]s update-ref refs/heads/moving/$$ $(GIT_DIR=%[1]s/r.git %[2]s rev-parse main); }
for arg; do case $arg in
  clone) %[2]s "$@" && move; exit;;
  ls-remote) move;;
esac; done
exec %[2]s "$@"
`, source, transfertest.GitPath(t)), 0o755))
	b := setup(t, func(c *Config) { c.SourceURL, c.GitPath = source, script })
	b.source = source
	from := b.newSource(t, "r.git")
	for range 2 { // a clone, and an update
		transfertest.Commit(t, from, "refs/heads/main", "more")
		result, err := b.sync(t, b.place("r.git"))
		transfertest.Must(t, err)
		dir := filepath.Join(b.target, "r.git")
		listed := parseRefs(transfertest.Git(t, dir, "for-each-ref", "--format=%(objectname) %(refname)")+"\n", "")
		if result.Checksum != listed.checksum("ref: refs/heads/main") {
			t.Fatal("the checksum is not that of what is in place")
		}
		if len(listed) < 2 {
			t.Fatalf("refs are %v", listed)
		}
		transfertest.WantAbsent(t, dir, "refs/casq")
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
			transfertest.Git(t, dir, "update-ref", "-d", fmt.Sprintf("refs/heads/short-lived/%d", beside+i))
			transfertest.Git(t, dir, "update-ref", fmt.Sprintf("refs/heads/short-lived/%d", beside+3+i), "refs/heads/main")
		}
		beside += 3
	}
	b := setup(t, func(c *Config) { c.SourceURL, c.TestHook = source, churn })
	b.source = source
	b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	for _, fresh := range []bool{false, true} {
		beside = 1000
		for i := range 3 {
			transfertest.Git(t, dir, "update-ref", fmt.Sprintf("refs/heads/short-lived/%d", beside+i), "refs/heads/main")
		}
		want := transfertest.Commit(t, dir, "refs/heads/main", "before the copy")
		place := b.place("r.git")
		place.Fresh = fresh
		_, err := b.sync(t, place)
		transfertest.Must(t, err)
		if got := transfertest.Git(t, filepath.Join(b.target, "r.git"), "rev-parse", "refs/heads/main"); got != want {
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
			b := setup(t, func(c *Config) {
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
			transfertest.Commit(t, dir, "refs/heads/other", "other")
			b.mustSync(t, "r.git")
			before := transfertest.State(t, filepath.Join(b.target, "r.git"))
			newer := transfertest.Commit(t, dir, "refs/heads/more", "newer")
			if name == "HEAD" {
				show = func() { transfertest.Git(t, dir, "update-ref", "--no-deref", "HEAD", newer) }
				hide = func() { transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/unborn") }
			} else {
				show = func() { transfertest.Git(t, dir, "update-ref", "refs/heads/main", newer) }
				hide = func() { transfertest.Git(t, dir, "update-ref", "-d", "refs/heads/main") }
			}
			show()
			active = true
			_, err := b.sync(t, b.place("r.git"))
			transfertest.WantError(t, err, transfer.ErrChanged)
			if after := transfertest.State(t, filepath.Join(b.target, "r.git")); after != before {
				t.Errorf("it was published: %s", after)
			}
			active = false
			show()
			b.mustSync(t, "r.git")
		})
	}
}
