package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/transfertest"

	"golang.org/x/sys/unix"
)

func statOf(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	transfertest.Must(t, unix.Lstat(path, &st))
	return st
}

// A copy has the mode and the time of its source, and the owner where that may be
// set.
func TestAFileKeepsItsAttributes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := filepath.Join(b.source, "k")
	transfertest.Write(t, b.source, "k", "bytes")
	for _, mode := range []os.FileMode{0o600, 0o644, 0o755, 0o640, 0o444, 0o604, 0o700 | os.ModeSetuid} {
		transfertest.Must(t, os.Chmod(path, mode))
		transfertest.Must(t, os.Chtimes(path, time.Now(), time.Unix(1_000_000_000, 123_456_789)))
		if os.Geteuid() == 0 {
			transfertest.Must(t, os.Chown(path, 4711, 4712))
			transfertest.Must(t, os.Chmod(path, mode))
		}
		_, err := b.sync(t, "k", "")
		transfertest.Must(t, err)
		want, got := statOf(t, path), statOf(t, filepath.Join(b.target, "k"))
		if got.Mode&0o7777 != want.Mode&0o777 || got.Mtim != want.Mtim || got.Uid != want.Uid || got.Gid != want.Gid {
			t.Errorf("mode %v: got %o %d:%d %v, want %o %d:%d %v", mode, got.Mode, got.Uid, got.Gid, got.Mtim,
				want.Mode, want.Uid, want.Gid, want.Mtim)
		}
	}
}

// At no time does anybody see more of it than at the source.
func TestAFileIsNeverWiderThanItsSource(t *testing.T) {
	t.Parallel()
	var b *bundle
	looked := 0
	look := func(string) {
		for _, pattern := range []string{"k", ".casq/*/*"} {
			found, _ := filepath.Glob(filepath.Join(b.target, pattern))
			for _, path := range found {
				looked++
				if st := statOf(t, path); st.Mode&0o077 != 0 {
					t.Errorf("%s has mode %o", path, st.Mode)
				}
			}
		}
	}
	b = setup(t, func(c *testConfig) { c.TestHook = look })
	transfertest.Write(t, b.source, "k", "secret")
	transfertest.Must(t, os.Chmod(filepath.Join(b.source, "k"), 0o600))
	b.Files.source = meddler{b.Files.source, func() { look("") }}
	_, err := b.sync(t, "k", "")
	transfertest.Must(t, err)
	look("")
	if looked < 4 {
		t.Errorf("looked %d times", looked)
	}
}

// Where the group cannot be kept, the members of another one get what both the
// group and all others had.
// What a folder hides at the source, the mode hides at the target, whose folders are
// open.
func TestAFileInAClosedFolderIsClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, test := range []struct{ outer, inner, file, want os.FileMode }{
		{0o755, 0o755, 0o644, 0o644},
		{0o700, 0o755, 0o644, 0o600},
		{0o755, 0o700, 0o777, 0o700},
		{0o755, 0o750, 0o644, 0o640},
		{0o750, 0o700, 0o664, 0o600},
		{0o711, 0o711, 0o644, 0o644},
		{0o744, 0o755, 0o644, 0o600}, // listed, and not passed through
	} {
		transfertest.Write(t, b.source, "outer/inner/k", "bytes")
		transfertest.Must(t, os.Chmod(filepath.Join(b.source, "outer", "inner", "k"), test.file))
		transfertest.Must(t, os.Chmod(filepath.Join(b.source, "outer", "inner"), test.inner))
		transfertest.Must(t, os.Chmod(filepath.Join(b.source, "outer"), test.outer))
		_, err := b.sync(t, "outer/inner/k", "")
		transfertest.Must(t, err)
		if got := os.FileMode(statOf(t, filepath.Join(b.target, "outer", "inner", "k")).Mode & 0o777); got != test.want {
			t.Errorf("%v in %v in %v became %v, want %v", test.file, test.inner, test.outer, got, test.want)
		}
	}
	for _, test := range []struct {
		gid        uint32
		mode, want uint32
	}{
		{7, 0o750, 0o640}, {7, 0o701, 0o604}, {8, 0o750, 0o600}, {8, 0o701, 0o644},
	} {
		if got := (attributes{mode: 0o644, gid: 7}).within(unix.Stat_t{Mode: test.mode, Gid: test.gid}).mode; got != test.want {
			t.Errorf("in a folder of group %d with %o: %o, want %o", test.gid, test.mode, got, test.want)
		}
	}
}

func TestModeInAnotherGroup(t *testing.T) {
	t.Parallel()
	for mode, want := range map[uint32]uint32{
		0o640: 0o600, 0o644: 0o644, 0o664: 0o644, 0o755: 0o755, 0o604: 0o604, 0o770: 0o700, 0o675: 0o655,
	} {
		a := attributes{mode: mode, uid: 1, gid: 2}
		if got := a.modeFor(3); got != want {
			t.Errorf("%o becomes %o, want %o", mode, got, want)
		}
		if got := a.modeFor(2); got != mode {
			t.Errorf("%o becomes %o in its own group", mode, got)
		}
	}
	if got := plainAttributes.modeFor(2); got != 0o644 {
		t.Errorf("what comes from a bucket has %o", got)
	}
}
