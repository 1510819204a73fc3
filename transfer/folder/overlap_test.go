package folder_test

import (
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

func TestFoldersThatOverlap(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	for _, name := range []string{"files/inner", "repositories/inner", "one", "two"} {
		transfertest.Must(t, os.MkdirAll(filepath.Join(at, name), 0o755))
	}
	transfertest.Must(t, os.Symlink("files", filepath.Join(at, "link")))
	mounts := map[string]string{"bind": "files", "bound/inner": "files/inner"}
	for point, name := range mounts {
		point = filepath.Join(at, point)
		transfertest.Must(t, os.MkdirAll(point, 0o755))
		if err := unix.Mount(filepath.Join(at, name), point, "", unix.MS_BIND, ""); err != nil {
			t.Logf("no bind mounts here: %v", err)
			clear(mounts)
			break
		}
		t.Cleanup(func() { transfertest.Must(t, unix.Unmount(point, unix.MNT_DETACH)) })
	}
	cases := []struct {
		name           string
		files, filesTo string
		repos, reposTo string
		apart          bool
	}{
		{"apart", "one", "files", "two", "repositories", true},
		{"one source", "one", "files", "one", "repositories", true},
		{"one target", "one", "files", "two", "files", false},
		{"inside", "one", "files", "two", "files/inner", false},
		{"around", "one", "repositories/inner", "two", "repositories", false},
		{"by a link", "one", "files", "two", "link", false},
		{"inside by a link", "one", "files", "two", "link/inner", false},
		{"files into the source of repositories", "one", "files/inner", "files", "repositories", false},
		{"repositories into the source of files", "files", "one", "two", "files/inner", false},
	}
	if len(mounts) > 0 {
		for _, name := range []string{"bind", "bind/inner", "bound/inner"} {
			c := cases[2]
			c.name, c.reposTo = "by a mount, "+name, name
			cases = append(cases, c)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &bundle{source: filepath.Join(at, c.files), target: filepath.Join(at, c.filesTo)}
			f.open(t, files)
			r := &bundle{source: filepath.Join(at, c.repos), target: filepath.Join(at, c.reposTo)}
			r.open(t, repositories)
			if err := folder.Apart(f, r); (err == nil) != c.apart {
				t.Errorf("they are apart: %v", err)
			}
		})
	}
}

// A file's key that reaches into a mirror is refused, and its removal takes
// nothing out of it: whoever may name files must not name a repository's.
func TestFileKeysInsideAMirror(t *testing.T) {
	t.Parallel()
	r := setup(t, repositories)
	f := &bundle{source: t.TempDir(), target: r.target}
	f.open(t, files)
	transfertest.NewRepository(t, r.source, "g/r.git")
	_, err := r.sync(t, "g/r.git")
	transfertest.Must(t, err)
	transfertest.WantSame(t, r.source, r.target, "g/r.git")
	for _, key := range []string{
		"g/r.git/HEAD", "g/r.git/refs/heads/main", "g/r.git/objects/info/alternates", "g/r.git/hooks/post-upload",
		"g/r.git/new/folder/file",
	} {
		transfertest.Write(t, f.source, key, "planted")
		_, err := f.sync(t, key)
		transfertest.WantError(t, err, transfer.ErrOccupied)
		transfertest.Must(t, f.remove(t, key))
	}
	transfertest.WantAbsent(t, r.target, "g/r.git/new")
	transfertest.WantSame(t, r.source, r.target, "g/r.git")

	// A copy of a repository, file by file, is no mirror.
	for _, key := range []string{"c.git/HEAD", "c.git/objects/x", "c.git/refs/x", "c.git/config"} {
		transfertest.Write(t, f.source, key, "a file")
		_, err := f.sync(t, key)
		transfertest.Must(t, err)
	}
	transfertest.Must(t, f.remove(t, "c.git/HEAD"))
}
