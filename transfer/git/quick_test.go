package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
)

// noting is a git that notes what it is called for.
func noting(t *testing.T) (script string, calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	script, notes := filepath.Join(dir, "noting-git"), filepath.Join(dir, "notes")
	transfertest.WriteProgram(t, script, fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s\nexec %s \"$@\"\n", notes, transfertest.GitPath(t)))
	return script, func() []string {
		text, err := os.ReadFile(notes)
		if !os.IsNotExist(err) {
			transfertest.Must(t, err)
		}
		_ = os.Remove(notes)
		var commands []string
		for line := range strings.Lines(string(text)) {
			for word := range strings.FieldsSeq(line) {
				if slices.Contains([]string{"clone", "ls-remote", "fetch", "for-each-ref", "update-ref", "hash-object", "rev-parse", "symbolic-ref"}, word) {
					commands = append(commands, word)
					break
				}
			}
		}
		return commands
	}
}

// A repository that is new is one process, and one that has not changed none, as long as its
// files say so; what they do not say git is asked for.
func TestNoProcessWhereNothingIsNew(t *testing.T) {
	t.Parallel()
	script, calls := noting(t)
	b := setup(t, func(c *Config) { c.GitPath = script })
	dir := b.newSource(t, "r.git")
	calls()
	want := func(what string, want ...string) {
		t.Helper()
		b.mustSync(t, "r.git")
		if got := calls(); !slices.Equal(got, want) {
			t.Errorf("%s: git was called for %q, want %q", what, got, want)
		}
	}
	want("new", "clone")
	first := transfertest.Git(t, dir, "rev-parse", "main")
	for _, packed := range []bool{false, true} {
		if packed {
			transfertest.Git(t, dir, "pack-refs", "--all")
		}
		result, err := b.sync(t, b.place("r.git"))
		transfertest.Must(t, err)
		if got := calls(); len(got) > 0 || result.Checksum != (refs{"refs/heads/main": first}).checksum("ref: refs/heads/main") || !result.Partial {
			t.Errorf("packed %t: git was called for %q, and the result is %+v", packed, got, result)
		}
	}
	transfertest.Git(t, dir, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
	b.mustSync(t, "r.git")
	if got := calls(); !slices.Contains(got, "ls-remote") || !slices.Contains(got, "fetch") {
		t.Errorf("a ref that points to another: git was called for %q", got)
	}
	transfertest.Git(t, dir, "symbolic-ref", "-d", "refs/heads/alias")
	transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/side")
	b.mustSync(t, "r.git")
	if got := calls(); !slices.Contains(got, "ls-remote") {
		t.Errorf("another HEAD: git was called for %q", got)
	}
	transfertest.WantContent(t, b.target, "r.git/HEAD", "ref: refs/heads/side\n")
}

// A mirror that has lost its objects is cloned anew, though its refs are the source's.
func TestObjectsThatAreGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	inPlace := filepath.Join(b.target, "r.git")
	objects, err := filepath.Glob(filepath.Join(inPlace, "objects", "*", "*"))
	transfertest.Must(t, err)
	for _, object := range objects {
		transfertest.Must(t, os.Remove(object))
	}
	b.mustSync(t, "r.git")
	if got, want := transfertest.State(t, inPlace), transfertest.State(t, dir); got != want {
		t.Errorf("source:\n%s\nhere:\n%s", want, got)
	}
}
