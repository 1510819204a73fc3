package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBadPlaces(t *testing.T) {
	t.Parallel()
	bad := []string{
		"", "/", "/etc/passwd", "..", ".", "../x", "a/../b", "a/..", "a/./b", "./a", "a//b", "a/", "//a",
		"a\x00b", "a\nb", "a\tb", "\x7f", "a\u0085b", "\xff\xfe", "a/\xc3\x28", strings.Repeat("a", 256),
		strings.Repeat("a/", 512) + "ab", strings.Repeat("x", 4096), ".casq", ".casq/x", ".CASQ/x",
	}
	f, r := setupFiles(t), setupRepositories(t)
	for _, key := range bad {
		for _, place := range []Place{
			{Key: key, Claim: claim()}, {Prefix: key, Key: "k", Claim: claim()}, {SourcePrefix: key, Key: "k", Claim: claim()},
		} {
			if key == "" && place.Key == "k" {
				continue // no prefix is a good one
			}
			for name, begin := range map[string]func(context.Context, Place) (Run, error){"file": f.Begin, "repository": r.Begin} {
				_, err := begin(t.Context(), place)
				if !errors.Is(err, ErrBadPlace) {
					t.Errorf("%s: begin of %.40q: %v", name, key, err)
				}
			}
			wantError(t, f.Sweep(t.Context(), place), ErrBadPlace)
			wantError(t, r.Sweep(t.Context(), place), ErrBadPlace)
		}
	}
	for _, claim := range []string{"", "x", "../../x", strings.Repeat("0", 36), "00000000-0000-0000-0000-00000000000/", "00000000-0000-0000-0000-00000000000A"} {
		_, err := f.Begin(t.Context(), Place{Key: "k", Claim: claim})
		wantError(t, err, ErrBadPlace)
		_, err = r.Begin(t.Context(), Place{Key: "k", Claim: claim})
		wantError(t, err, ErrBadPlace)
	}
	for _, target := range []string{f.target, r.target} {
		entries, err := os.ReadDir(target)
		must(t, err)
		if len(entries) > 0 {
			t.Fatalf("a bad place made %v", entries)
		}
	}
}

// hostileTargets plant a link where a run on "a/k" passes.
var hostileTargets = map[string]func(t *testing.T, target, outside string){
	"parent": func(t *testing.T, target, outside string) {
		must(t, os.Symlink(outside, filepath.Join(target, "a")))
	},
	"parent, relative": func(t *testing.T, target, outside string) {
		relative, err := filepath.Rel(target, outside)
		must(t, err)
		must(t, os.Symlink(relative, filepath.Join(target, "a")))
	},
	"parent, to a folder of the target": func(t *testing.T, target, _ string) {
		must(t, os.Mkdir(filepath.Join(target, "real"), 0o755))
		must(t, os.Symlink("real", filepath.Join(target, "a")))
	},
	"leaf": func(t *testing.T, target, outside string) {
		must(t, os.Mkdir(filepath.Join(target, "a"), 0o755))
		must(t, os.Symlink(filepath.Join(outside, "k"), target+"/a/k"))
	},
	"leaf, dangling": func(t *testing.T, target, outside string) {
		must(t, os.Mkdir(filepath.Join(target, "a"), 0o755))
		must(t, os.Symlink(filepath.Join(outside, "new"), target+"/a/k"))
	},
	"fifo": func(t *testing.T, target, _ string) {
		must(t, os.Mkdir(filepath.Join(target, "a"), 0o755))
		must(t, unix.Mkfifo(target+"/a/k", 0o644))
	},
	"staging": func(t *testing.T, target, outside string) {
		must(t, os.Symlink(outside, filepath.Join(target, stagingRoot)))
	},
	"staging of the key": func(t *testing.T, target, outside string) {
		must(t, os.MkdirAll(filepath.Join(target, stagingRoot), 0o755))
		must(t, os.Symlink(outside, filepath.Join(target, stagingRoot, stagingName("a/k"))))
	},
}

func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	for name, plant := range hostileTargets {
		for _, walk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s walk=%v", name, walk), func(t *testing.T) {
				t.Parallel()
				f, r := setupFiles(t), setupRepositories(t)
				f.Files.target.now.walk, r.Repositories.target.now.walk = walk, walk
				write(t, f.source, "a/k", "bytes")
				r.newSource(t, "a/k")
				for target, do := range map[string]struct{ sync, remove func() error }{
					f.target: {
						func() error { _, err := f.sync(t, "a/k", ""); return err },
						func() error { return f.remove(t, "a/k") },
					},
					r.target: {
						func() error { _, err := r.sync(t, r.place("a/k")); return err },
						func() error { return r.remove(t, "a/k") },
					},
				} {
					outside := t.TempDir()
					write(t, outside, "k", "precious")
					plant(t, target, outside)
					wantError(t, do.sync(), ErrUnsafe)
					wantError(t, do.remove(), ErrUnsafe)
					wantContent(t, outside, "k", "precious")
					entries, err := os.ReadDir(outside)
					must(t, err)
					if len(entries) != 1 {
						t.Fatalf("outside has %v", entries)
					}
				}
			})
		}
	}
}

func TestPlantedLinkInStaging(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "bytes")
	outside := t.TempDir()
	write(t, outside, "deep/file", "precious")
	other := filepath.Join(b.target, stagingRoot, stagingName("k"), claim())
	must(t, os.MkdirAll(other+"/x/y/z", 0o755))
	must(t, os.Symlink(outside, other+"/x/y/link"))
	must(t, os.Symlink(outside, filepath.Join(b.target, stagingRoot, stagingName("k"), "link")))
	write(t, other, "x/read-only", "x")
	must(t, os.Chmod(other+"/x/read-only", 0o400))
	_, err := b.sync(t, "k", "")
	must(t, err)
	wantContent(t, outside, "deep/file", "precious")
	wantNoStaging(t, b.target)
}

func TestPlantedLinkInMirror(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"refs", "refs/heads", "refs/tags/x", "objects", "objects/pack", "packed-refs", "HEAD", "config", guardName} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			commit(t, dir, "refs/heads/main", "two")
			planted := filepath.Join(b.target, "r.git", name)
			outside := filepath.Join(t.TempDir(), "moved")
			if _, err := os.Lstat(planted); err == nil {
				must(t, os.Rename(planted, outside))
			}
			must(t, os.Symlink(outside, planted))
			_, err := b.sync(t, b.place("r.git"))
			wantError(t, err, ErrUnsafe)
			if !strings.Contains(err.Error(), planted) {
				t.Fatalf("%v does not say where", err)
			}
			// A removal does not go into it, and neither does a new clone.
			fresh := b.place("r.git")
			fresh.Fresh = true
			_, err = b.sync(t, fresh)
			must(t, err)
			b.wantSame(t, "r.git")
			must(t, b.remove(t, "r.git"))
			wantNoStaging(t, b.target)
		})
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	small := filepath.Join(t.TempDir(), "small")
	mountTmpfs(t, small, "size=256k,mode=755")
	f := setupFiles(t, func(c *filesSetup) { c.Target = small })
	write(t, f.source, "k", "fits")
	_, err := f.sync(t, "k", "")
	must(t, err)
	write(t, f.source, "k", strings.Repeat("too large", 100_000))
	_, err = f.sync(t, "k", "")
	wantError(t, err, unix.ENOSPC)
	wantContent(t, small, "k", "fits")
	wantNoStaging(t, small)

	r := setupRepositories(t, func(c *RepositoriesConfig) { c.TargetDir = small })
	dir := r.newSource(t, "r.git")
	r.mustSync(t, "r.git")
	noise := make([]byte, 400<<10)
	for i := range noise {
		noise[i] = byte(i*i*31>>3) ^ byte(i>>7) ^ byte(i*7919>>5)
	}
	must(t, os.WriteFile(filepath.Join(dir, "noise"), noise, 0o644))
	before := state(t, filepath.Join(small, "r.git"))
	gitIn(t, dir, "-c", "core.compression=0", "tag", "noise", gitIn(t, dir, "-c", "core.compression=0", "hash-object", "-w", "noise"))
	_, err = r.sync(t, r.place("r.git"))
	if err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Fatalf("error is %v", err)
	}
	if after := state(t, filepath.Join(small, "r.git")); before != after {
		t.Fatalf("half-written: %s", after)
	}
	gitIn(t, dir, "tag", "-d", "noise")
	r.mustSync(t, "r.git")
}

func TestReadOnlyTarget(t *testing.T) {
	t.Parallel()
	small := filepath.Join(t.TempDir(), "small")
	mountTmpfs(t, small, "size=1m,mode=755")
	f := setupFiles(t, func(c *filesSetup) { c.Target = small })
	write(t, f.source, "k", "1")
	_, err := f.sync(t, "k", "")
	must(t, err)
	run, err := f.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	write(t, f.source, "k", "2")
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	awaitRelease(t, func() error { return unix.Mount("", small, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") })
	wantError(t, run.Publish(t.Context()), unix.EROFS)
	wantError(t, run.Remove(t.Context()), unix.EROFS)
	wantError(t, run.Close(), unix.EROFS)
	_, err = f.sync(t, "k", "")
	wantError(t, err, unix.EROFS)
	wantContent(t, small, "k", "1")
	must(t, unix.Mount("", small, "", unix.MS_REMOUNT, ""))
	_, err = f.sync(t, "k", "")
	must(t, err)
	wantContent(t, small, "k", "2")
	wantNoStaging(t, small)
}

func TestMountPointBelowTarget(t *testing.T) {
	t.Parallel()
	for _, walk := range []bool{false, true} {
		b := setupFiles(t)
		b.Files.target.now.walk = walk
		mountTmpfs(t, filepath.Join(b.target, "a"), "size=64k")
		write(t, b.source, "a/k", "x")
		_, err := b.sync(t, "a/k", "")
		wantError(t, err, unix.EXDEV)
		if !strings.Contains(err.Error(), "mount point") {
			t.Fatal(err)
		}
		wantNoStaging(t, b.target)
	}
	target := t.TempDir()
	mountTmpfs(t, filepath.Join(target, stagingRoot), "size=64k")
	_, err := openFolders(t.TempDir(), target)
	if err == nil || !strings.Contains(err.Error(), "mount point") {
		t.Fatal(err)
	}
}

func TestOpenRepositories(t *testing.T) {
	t.Parallel()
	folder, target := t.TempDir(), t.TempDir()
	cases := []struct{ source, message string }{
		{"", "no URL template"},
		{"ext::sh -c 'touch /tmp/pwned' {key}", "never allowed"},
		{"fd::17/{key}", "never allowed"},
		{"https::https://host/{key}", "never allowed"},
		{"--upload-pack=touch /tmp/pwned", "dash"},
		{"-oProxyCommand=x/{key}", "dash"},
		{"git@host:{key}.git", "ssh://"},
		{"http://host/{key}", `"http" is not allowed`},
		{"ftp://host/{key}", "not allowed"},
		{"HTTPS://host/{key}", "not allowed"},
		{"https://host/path", "needs {key}"},
		{"https://{key}/path", "needs {key}"},
		{"https://host{key}", "needs {key}"},
		{"https://host/{key}/{key}", "more than once"},
		{"https://host/{key}?x=y", "query"},
		{"https:///{key}", "host"},
		{"ssh://-oProxyCommand=x/{key}", "host"},
		{"ssh://user@-oProxyCommand=x/{key}", "host"},
		{"https://host/\n{key}", "control"},
		{"file://" + folder + "/x{key}", "slash"},
		{"file://" + folder + "/{key}/../..", "component"},
		{folder + "/none", "no such file"},
		{"https://user:secret@host/{key}?", "***@"},
		{target, "inside each other"},
	}
	for _, c := range cases {
		r, err := OpenRepositories(t.Context(), RepositoriesConfig{SourceURL: c.source, TargetDir: target})
		if err == nil {
			_ = r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error is %v, want %q", c.source, err, c.message)
		}
	}
	for _, config := range []RepositoriesConfig{
		{SourceURL: folder, TargetDir: target, AllowedProtocols: []string{"file", "ext"}},
		{SourceURL: folder, TargetDir: target, AllowedProtocols: []string{"https"}},
		{SourceURL: folder, TargetDir: "s3://bucket"},
		{SourceURL: folder, TargetDir: ""},
		{SourceURL: folder, TargetDir: target, GitPath: "/nonexistent/git"},
		{SourceURL: folder, TargetDir: target, GitPath: "/bin/true"},
	} {
		r, err := OpenRepositories(t.Context(), config)
		if err == nil {
			_ = r.Close()
			t.Errorf("%+v is accepted", config)
		}
	}
	old := filepath.Join(t.TempDir(), "old-git")
	writeProgram(t, old, "#!/bin/sh\necho git version 2.35.8\n")
	_, err := OpenRepositories(t.Context(), RepositoriesConfig{SourceURL: folder, TargetDir: target, GitPath: old})
	if err == nil || !strings.Contains(err.Error(), "2.36 or newer") {
		t.Fatal(err)
	}
}

func TestTemplateEscapesKeys(t *testing.T) {
	t.Parallel()
	template, err := parseTemplate("https://host/git/{key}.git", []string{"https"}, slog.New(slog.DiscardHandler))
	must(t, err)
	remote, err := template.remote("a b/-x/ü?#%2e%2e@:{key}")
	must(t, err)
	if remote.url != "https://host/git/a%20b/-x/%C3%BC%3F%23%252e%252e@:%7Bkey%7D.git" {
		t.Fatal(remote.url)
	}
}

func TestOddRepositoryNames(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	for _, key := range []string{
		"-x", "--upload-pack=touch pwned", "sp ace.git", "quo'te\".git", "ünï.git", "a:b", "$(id)", "`id`", "{key}", "x.lock",
		`back\slash`, "*", "~", "%2e%2e", "ext::sh",
	} {
		b.newSource(t, key)
		b.mustSync(t, key)
		b.mustSync(t, key)
		must(t, b.remove(t, key))
	}
}

// A git that never ends is killed with all that it has started.
func TestCancelKillsTheProcessGroup(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	pids := filepath.Join(folder, "pids")
	must(t, unix.Mkfifo(pids, 0o600))
	script := filepath.Join(folder, "hanging-git")
	must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
case " $* " in
*" version "*) echo git version 2.40.2;;
*) sleep 1000 & echo $$ $! >%s; wait;;
esac
`, pids), 0o755))
	b := setupRepositories(t, func(c *RepositoriesConfig) { c.GitPath = script })
	b.newSource(t, "r.git")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("claim lost")
	done := make(chan error)
	go func() {
		_, err := run.Copy(ctx, nil)
		done <- err
	}()
	started, err := os.ReadFile(pids) // blocks until the script writes
	must(t, err)
	cancel(lost)
	wantError(t, <-done, lost)
	must(t, run.Close())
	for pid := range strings.FieldsSeq(string(started)) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		// The grandchild may be a zombie that init has not reaped yet.
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			t.Errorf("process %s lives on: %s", pid, stat)
		}
	}
	wantNoStaging(t, b.target)
}

func TestGitErrorIsShortAndHasNoPassword(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	script := filepath.Join(folder, "loud-git")
	must(t, os.WriteFile(script, []byte(`#!/bin/sh
case " $* " in
*" version "*) echo git version 2.40.2; exit;;
esac
i=0; while [ $i -lt 3000 ]; do echo "noise $i" >&2; i=$((i+1)); done
echo "fatal: unable to access 'https://user:secret@host/r.git'" >&2
exit 128
`), 0o755))
	b := setupRepositories(t, func(c *RepositoriesConfig) { c.GitPath = script })
	b.newSource(t, "r.git")
	_, err := b.sync(t, b.place("r.git"))
	if err == nil || len(err.Error()) > 2*tailSize || strings.Contains(err.Error(), "secret") ||
		!strings.Contains(err.Error(), "https://***@host/r.git") || errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
}

// A git of somebody's own may lie beside what nobody is to read.
func TestFoldersOfAGit(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	must(t, os.MkdirAll(home+"/bin", 0o755))
	must(t, os.WriteFile(home+"/bin/git", nil, 0o755))
	folders := foldersOf(home + "/bin/git")
	if !slices.Contains(folders, home+"/bin") || !slices.Contains(folders, home+"/libexec") || slices.Contains(folders, home) {
		t.Errorf("git may read %v", folders)
	}
}
