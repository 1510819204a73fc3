package git

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A released repository is one as git init makes it: it can be pushed to, nothing of casq's
// is in it, and runs from before cannot change it.
func TestReleaseARepository(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "group/project.git")
	transfertest.Git(t, dir, "update-ref", "refs/hidden/x", "refs/heads/main")
	result := b.mustSync(t, "group/project.git")
	transfertest.Must(t, b.VerifyInPlace(t.Context(), b.place("group/project.git"), result.Checksum))

	inPlace := filepath.Join(b.target, "group", "project.git")
	want := transfertest.State(t, inPlace)

	// A run that is under way while it is released publishes nothing.
	transfertest.Commit(t, dir, "refs/heads/main", "late")
	late, err := b.Begin(t.Context(), b.place("group/project.git"))
	transfertest.Must(t, err)
	_, err = late.Copy(t.Context(), nil)
	transfertest.Must(t, err)

	for range 2 { // it may be done again
		transfertest.Must(t, b.Release(t.Context(), b.place("group/project.git")))
	}
	transfertest.WantError(t, late.Publish(t.Context()), transfer.ErrFenced)
	transfertest.Must(t, late.Close())
	transfertest.Must(t, b.Release(t.Context(), b.place("group/project.git")))
	if got := transfertest.State(t, inPlace); got != want {
		t.Errorf("before:\n%s\nafter:\n%s", want, got)
	}

	fresh := t.TempDir()
	transfertest.Git(t, fresh, "init", "--quiet", "--bare")
	for _, dir := range []string{fresh, inPlace} {
		for name, want := range map[string]string{"core.bare": "true", "core.repositoryformatversion": "0"} {
			if got := strings.TrimSpace(transfertest.Git(t, dir, "config", "--local", name)); got != want {
				t.Errorf("%s has %s = %q", dir, name, got)
			}
		}
	}
	for _, setting := range []string{"gc", "maintenance", "receive", "transfer"} {
		if text, err := os.ReadFile(filepath.Join(inPlace, "config")); err != nil || strings.Contains(string(text), setting) {
			t.Errorf("its configuration is %q (%v)", text, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(inPlace, "*casq*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v (%v)", left, err)
	}
	// An application pushes, with a hook of its own.
	transfertest.WriteProgram(t, filepath.Join(inPlace, "hooks", "post-receive"), "#!/bin/sh\ntouch hook-was-here\n")
	work := t.TempDir()
	transfertest.Git(t, work, "clone", "--quiet", inPlace, work)
	transfertest.Git(t, work, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--allow-empty", "-m", "next")
	transfertest.Git(t, work, "push", "--quiet", "origin", "HEAD:main")
	if _, err := os.Stat(filepath.Join(inPlace, "hook-was-here")); err != nil {
		t.Errorf("the hook did not run: %v", err)
	}
	transfertest.Must(t, b.Release(t.Context(), b.place("group/project.git")))
	transfertest.WantNoStaging(t, b.target)
}

// What is no mirror is told, and not touched.
func TestReleaseWhatIsNoMirror(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.WantError(t, b.Release(t.Context(), b.place("none")), transfer.ErrMismatch)
	transfertest.Must(t, os.MkdirAll(filepath.Join(b.target, "folder", "inside"), 0o755))
	transfertest.WantError(t, b.Release(t.Context(), b.place("folder")), transfer.ErrMismatch)
	transfertest.NewRepository(t, b.target, "theirs.git")
	config, err := os.ReadFile(filepath.Join(b.target, "theirs.git", "config"))
	transfertest.Must(t, err)
	err = b.Release(t.Context(), b.place("theirs.git"))
	if string(config) != workingConfigs[0] {
		transfertest.WantError(t, err, transfer.ErrMismatch)
	}
	transfertest.WantContent(t, b.target, "theirs.git/config", string(config))
}

// Without a source it is the sum of the copy that tells.
func TestVerifyInPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.newSource(t, "r")
	result := b.mustSync(t, "r")
	transfertest.Must(t, os.RemoveAll(filepath.Join(b.source, "r")))
	place := transfer.Place{Key: "r"}
	transfertest.Must(t, b.VerifyInPlace(t.Context(), place, result.Checksum))
	transfertest.Must(t, b.VerifyInPlace(t.Context(), place, ""))
	transfertest.WantError(t, b.VerifyInPlace(t.Context(), place, "sha256:"+strings.Repeat("0", 64)), transfer.ErrMismatch)
	transfertest.WantError(t, b.VerifyInPlace(t.Context(), transfer.Place{Key: "none"}, ""), transfer.ErrMismatch)
	packs, err := filepath.Glob(filepath.Join(b.target, "r", "objects", "pack", "*.pack"))
	transfertest.Must(t, err)
	for _, pack := range packs {
		transfertest.Must(t, os.Remove(pack))
	}
	transfertest.WantError(t, b.VerifyInPlace(t.Context(), place, result.Checksum), transfer.ErrMismatch)
}
