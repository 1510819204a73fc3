package transfertest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// AppendTo appends to a file.
func AppendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	Must(t, err)
	_, err = file.WriteString(text)
	Must(t, errors.Join(err, file.Close()))
}

// WriteProgram writes a program that a test runs. No process is forked meanwhile:
// the child would hold the file open for writing, and running it would fail with
// ETXTBSY.
func WriteProgram(t *testing.T, name, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	Must(t, os.WriteFile(name, []byte(text), 0o755))
}

// Write writes a file and the folders above it.
func Write(t *testing.T, folder, path, content string) {
	t.Helper()
	full := filepath.Join(folder, path)
	Must(t, os.MkdirAll(filepath.Dir(full), 0o755))
	Must(t, os.WriteFile(full, []byte(content), 0o644))
}

// WantContent compares a file.
func WantContent(t *testing.T, folder, path, content string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(folder, path))
	Must(t, err)
	if string(got) != content {
		t.Fatalf("%s holds %q, want %q", path, got, content)
	}
}

// WantAbsent checks that nothing is there.
func WantAbsent(t *testing.T, folder, path string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(folder, path)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is there (%v), want it absent", path, err)
	}
}

// WantNoStaging checks that nothing was left behind.
func WantNoStaging(t *testing.T, target string) {
	t.Helper()
	if staged := StagedNames(t, target); len(staged) > 0 {
		t.Fatalf("staging was left behind: %v", staged)
	}
}

// StagedNames are the paths of what is in a target's staging: all but its mark, and the
// rooms, which stay.
func StagedNames(t *testing.T, target string) []string {
	t.Helper()
	root := filepath.Join(target, transfer.StagingRoot)
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && len(entry.Name()) == 2 {
			staged, err := filepath.Glob(filepath.Join(root, entry.Name(), "*"))
			Must(t, err)
			names = append(names, staged...)
		} else if entry.Name() != transfer.MarkName {
			names = append(names, filepath.Join(root, entry.Name()))
		}
	}
	return names
}

// StagedAt is the name that a claim's staging has in a target, and a begin of ours would
// give it.
func StagedAt(target, key, claim string) string {
	hash := transfer.StagingName(key)
	return filepath.Join(target, transfer.StagingRoot, hash[:2], hash+"."+claim)
}

// MountTmpfs mounts a small file system at a new folder, or skips the test.
func MountTmpfs(t *testing.T, at, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	Must(t, os.MkdirAll(at, 0o755))
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting is not possible here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
}

// NewMark is another one each time.
func NewMark() transfer.Mark { return transfer.Mark{ID: NewClaim(), Transfer: "file", Home: "here"} }

// Swap puts another folder in the place of one: an empty one, or a copy of it
// with its mark. It returns where the first one is then.
func Swap(t *testing.T, folder string, marked bool) (moved string) {
	t.Helper()
	moved = folder + ".moved"
	Must(t, os.Rename(folder, moved))
	Must(t, os.Mkdir(folder, 0o755))
	if marked {
		Must(t, os.CopyFS(folder, os.DirFS(moved)))
	}
	return moved
}

// Unswap puts it back.
func Unswap(t *testing.T, folder, moved string) {
	t.Helper()
	Must(t, os.RemoveAll(folder))
	Must(t, os.Rename(moved, folder))
}
