package transfer

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFoldersThatOverlap(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	for _, folder := range []string{"files/inner", "repositories/inner", "one", "two"} {
		must(t, os.MkdirAll(filepath.Join(at, folder), 0o755))
	}
	must(t, os.Symlink("files", filepath.Join(at, "link")))
	mounts := map[string]string{"bind": "files", "bound/inner": "files/inner"}
	for point, folder := range mounts {
		point = filepath.Join(at, point)
		must(t, os.MkdirAll(point, 0o755))
		if err := unix.Mount(filepath.Join(at, folder), point, "", unix.MS_BIND, ""); err != nil {
			t.Logf("no bind mounts here: %v", err)
			clear(mounts)
			break
		}
		t.Cleanup(func() { must(t, unix.Unmount(point, unix.MNT_DETACH)) })
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
		for _, folder := range []string{"bind", "bind/inner", "bound/inner"} {
			c := cases[2]
			c.name, c.reposTo = "by a mount, "+folder, folder
			cases = append(cases, c)
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := openFolders(filepath.Join(at, c.files), filepath.Join(at, c.filesTo))
			must(t, err)
			defer f.Close()
			r, err := OpenRepositories(t.Context(), RepositoriesConfig{SourceURL: filepath.Join(at, c.repos), TargetDir: filepath.Join(at, c.reposTo)})
			must(t, err)
			defer r.Close()
			if err := Apart(f, r); (err == nil) != c.apart {
				t.Errorf("they are apart: %v", err)
			}
		})
	}
}

// A file's key that reaches into a mirror is refused, and its removal takes
// nothing out of it: whoever may name files must not name a repository's.
func TestFileKeysInsideAMirror(t *testing.T) {
	t.Parallel()
	r := setupRepositories(t)
	f := setupFiles(t, func(c *filesSetup) { c.Target = r.target })
	r.newSource(t, "g/r.git")
	r.mustSync(t, "g/r.git")
	for _, key := range []string{
		"g/r.git/HEAD", "g/r.git/refs/heads/main", "g/r.git/objects/info/alternates", "g/r.git/hooks/post-upload",
		"g/r.git/new/folder/file",
	} {
		write(t, f.source, key, "planted")
		_, err := f.sync(t, key, "")
		wantError(t, err, ErrOccupied)
		must(t, f.remove(t, key))
	}
	wantAbsent(t, r.target, "g/r.git/new")
	r.wantSame(t, "g/r.git")

	// A copy of a repository, file by file, is no mirror.
	for _, key := range []string{"c.git/HEAD", "c.git/objects/x", "c.git/refs/x", "c.git/config"} {
		write(t, f.source, key, "a file")
		_, err := f.sync(t, key, "")
		must(t, err)
	}
	must(t, f.remove(t, "c.git/HEAD"))
}
