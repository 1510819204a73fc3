package git

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// What git takes for the name of a ref is what is copied.
func TestRefNamesAreThoseOfGit(t *testing.T) {
	t.Parallel()
	names := []string{
		"refs/heads/main", "refs/heads/a./b", "refs/heads/a.", "refs/heads/.a", "refs/heads/a/.b", "refs/heads/a..b",
		"refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a.lockx", "refs/heads/@", "refs/heads/@{", "refs/heads/a@{b",
		"refs/heads/a//b", "refs/heads/a/", "refs/heads/-a", "refs/heads/'\"", "refs/heads/\u00a0", "refs/", "refs", "heads/x", "",
		"refs/heads/\u0080", "refs/heads/\u0085x", "refs/heads/\u009f", "refs/heads/\xff\xfe", "refs/heads/\u2028", "refs/heads/..",
	}
	for b := range 256 {
		names = append(names, "refs/heads/x"+string([]byte{byte(b)})+"y")
	}
	for _, name := range names {
		if strings.Contains(name, "\x00") { // cannot be asked
			continue
		}
		legal := strings.HasPrefix(name, "refs/") && exec.CommandContext(t.Context(), "git", "check-ref-format", name).Run() == nil
		if got := isRefName(name); got != legal {
			t.Errorf("%q: %v, and git says %v", name, got, legal)
		}
	}
}

func TestOddRefNamesAreCopied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	odd := []string{"refs/heads/v1./x", "refs/heads/\u0085", "refs/heads/a\u009fb", "refs/tags/\xff\xfe", "refs/heads/@", "refs/heads/#'\"$(x)"}
	for range 2 { // by a clone, and by an update
		for _, name := range odd {
			transfertest.Commit(t, dir, name, "x")
		}
		transfertest.Git(t, dir, "symbolic-ref", "HEAD", odd[1])
		b.mustSync(t, "r.git")
		transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, ""))
		got := transfertest.Git(t, filepath.Join(b.target, "r.git"), "for-each-ref", "--format=%(refname)")
		for _, name := range odd {
			if !strings.Contains(got, name) {
				t.Errorf("%q was not copied: %q", name, got)
			}
		}
	}
}

func TestRefNamesThatGitDoesNotTakeAreTold(t *testing.T) {
	t.Parallel()
	oid := strings.Repeat("a", 40)
	for _, name := range []string{"refs/heads/a..b", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a b", "elsewhere/x"} {
		_, _, err := parseListing(oid + "\t" + name + "\n")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	listed, _, err := parseListing(oid + "\trefs/tags/v1\n" + oid + "\trefs/tags/v1^{}\n" + oid + "\trefs/casq/x/fence\n")
	if err != nil || len(listed) != 1 || listed["refs/tags/v1"] != oid {
		t.Errorf("%v, %v", listed, err)
	}
}
