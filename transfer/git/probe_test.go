package git

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A local source is compared by its files, in whichever form they are; what git shows in
// another way is listed by git, and a difference is one for git, too.
func TestProbeRepository(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(t *testing.T, source string)
		differs bool
		asked   bool // git, which takes a process
	}{
		"nothing":  {change: func(*testing.T, string) {}},
		"packed":   {change: func(t *testing.T, s string) { transfertest.Git(t, s, "pack-refs", "--all", "--prune") }},
		"repacked": {change: func(t *testing.T, s string) { transfertest.Git(t, s, "repack", "-adq") }},
		"a ref moved": {change: func(t *testing.T, s string) {
			transfertest.Git(t, s, "update-ref", "refs/heads/main", "refs/heads/main~1")
		}, differs: true, asked: true},
		"packed, then moved": {change: func(t *testing.T, s string) {
			transfertest.Git(t, s, "pack-refs", "--all", "--prune")
			transfertest.Git(t, s, "update-ref", "refs/heads/main", "refs/heads/main~1")
		}, differs: true, asked: true},
		"a ref more": {change: func(t *testing.T, s string) {
			transfertest.Git(t, s, "update-ref", "refs/deep/er/x", "refs/heads/main")
		}, differs: true, asked: true},
		"a ref gone":   {change: func(t *testing.T, s string) { transfertest.Git(t, s, "update-ref", "-d", "refs/heads/main") }, differs: true, asked: true},
		"another HEAD": {change: func(t *testing.T, s string) { transfertest.Git(t, s, "symbolic-ref", "HEAD", "refs/heads/x") }, differs: true, asked: true},
		"detached HEAD": {change: func(t *testing.T, s string) {
			transfertest.Git(t, s, "update-ref", "--no-deref", "HEAD", "refs/heads/main~1")
		}, differs: true, asked: true},
		"a hidden ref": {change: func(t *testing.T, s string) {
			transfertest.Git(t, s, "update-ref", "refs/hidden/x", "refs/heads/main")
			transfertest.Git(t, s, "config", "uploadpack.hideRefs", "refs/hidden")
		}, asked: true},
		"a lock of git's": {change: func(t *testing.T, s string) {
			transfertest.Must(t, os.WriteFile(filepath.Join(s, "refs", "heads", "main.lock"), nil, 0o644))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			source := b.newSource(t, "a.git")
			transfertest.Commit(t, source, "refs/heads/main", "two")
			sum := b.mustSync(t, "a.git").Checksum
			c.change(t, source)
			if !c.asked {
				b.git.path = "/nowhere/git"
			}
			differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "a.git"}, Checksum: sum})
			if err != nil || differs != c.differs {
				t.Errorf("differs %t, %v", differs, err)
			}
		})
	}
}

// Over HTTP one listing tells.
func TestProbeOverHTTP(t *testing.T) {
	t.Parallel()
	b := setupHTTP(t)
	source := b.newSource(t, "a.git")
	sum, err := b.sync(t, b.place("a"))
	transfertest.Must(t, err)
	if differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "a"}, Checksum: sum.Checksum}); differs || err != nil {
		t.Error(differs, err)
	}
	transfertest.Commit(t, source, "refs/heads/main", "two")
	if differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "a"}, Checksum: sum.Checksum}); !differs || err != nil {
		t.Error(differs, err)
	}
	if differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "b"}, Checksum: sum.Checksum}); differs || !errors.Is(err, transfer.ErrMissing) {
		t.Error(differs, err)
	}
	// An empty one has no HEAD to show.
	transfertest.Git(t, b.source, "init", "-q", "--bare", "empty.git")
	sum, err = b.sync(t, b.place("empty"))
	transfertest.Must(t, err)
	if differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "empty"}, Checksum: sum.Checksum}); differs || err != nil {
		t.Error(differs, err)
	}
}

// What the source does not have, and a source that is away, is no difference.
func TestProbeOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.newSource(t, "a.git")
	sum := b.mustSync(t, "a.git").Checksum
	if differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "b.git"}, Checksum: sum}); differs || !errors.Is(err, transfer.ErrMissing) {
		t.Error(differs, err)
	}
	transfertest.Must(t, os.Rename(b.source, b.source+".away"))
	t.Cleanup(func() { _ = os.RemoveAll(b.source + ".away") })
	if differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "a.git"}, Checksum: sum}); differs || !errors.Is(err, transfer.ErrElsewhere) {
		t.Error(differs, err)
	}
}
