package git

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
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

func TestPlantedLinkInMirror(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"refs", "refs/heads", "refs/tags/x", "objects", "objects/pack", "packed-refs", "HEAD", "config", folder.GuardName} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			transfertest.Commit(t, dir, "refs/heads/main", "two")
			planted := filepath.Join(b.target, "r.git", name)
			outside := filepath.Join(t.TempDir(), "moved")
			if _, err := os.Lstat(planted); err == nil {
				transfertest.Must(t, os.Rename(planted, outside))
			}
			transfertest.Must(t, os.Symlink(outside, planted))
			_, err := b.sync(t, b.place("r.git"))
			transfertest.WantError(t, err, transfer.ErrUnsafe)
			if !strings.Contains(err.Error(), planted) {
				t.Fatalf("%v does not say where", err)
			}
			// A removal does not go into it, and neither does a new clone.
			fresh := b.place("r.git")
			fresh.Fresh = true
			_, err = b.sync(t, fresh)
			transfertest.Must(t, err)
			b.wantSame(t, "r.git")
			transfertest.Must(t, b.remove(t, "r.git"))
			transfertest.WantNoStaging(t, b.target)
		})
	}
}

func TestFullDiskOfMirrors(t *testing.T) {
	t.Parallel()
	small := filepath.Join(t.TempDir(), "small")
	transfertest.MountTmpfs(t, small, "size=256k,mode=755")
	r := setup(t, func(c *Config) { c.TargetDir = small })
	dir := r.newSource(t, "r.git")
	r.mustSync(t, "r.git")
	noise := make([]byte, 400<<10)
	for i := range noise {
		noise[i] = byte(i*i*31>>3) ^ byte(i>>7) ^ byte(i*7919>>5)
	}
	transfertest.Must(t, os.WriteFile(filepath.Join(dir, "noise"), noise, 0o644))
	before := transfertest.State(t, filepath.Join(small, "r.git"))
	transfertest.Git(t, dir, "-c", "core.compression=0", "tag", "noise", transfertest.Git(t, dir, "-c", "core.compression=0", "hash-object", "-w", "noise"))
	_, err := r.sync(t, r.place("r.git"))
	if err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Fatalf("error is %v", err)
	}
	if after := transfertest.State(t, filepath.Join(small, "r.git")); before != after {
		t.Fatalf("half-written: %s", after)
	}
	transfertest.Git(t, dir, "tag", "-d", "noise")
	r.mustSync(t, "r.git")
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
		r, err := Open(t.Context(), Config{SourceURL: c.source, TargetDir: target})
		if err == nil {
			_ = r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error is %v, want %q", c.source, err, c.message)
		}
	}
	for _, config := range []Config{
		{SourceURL: folder, TargetDir: target, AllowedProtocols: []string{"file", "ext"}},
		{SourceURL: folder, TargetDir: target, AllowedProtocols: []string{"https"}},
		{SourceURL: folder, TargetDir: "s3://bucket"},
		{SourceURL: folder, TargetDir: ""},
		{SourceURL: folder, TargetDir: target, GitPath: "/nonexistent/git"},
		{SourceURL: folder, TargetDir: target, GitPath: "/bin/true"},
	} {
		r, err := Open(t.Context(), config)
		if err == nil {
			_ = r.Close()
			t.Errorf("%+v is accepted", config)
		}
	}
	old := filepath.Join(t.TempDir(), "old-git")
	transfertest.WriteProgram(t, old, "#!/bin/sh\necho git version 2.35.8\n")
	_, err := Open(t.Context(), Config{SourceURL: folder, TargetDir: target, GitPath: old})
	if err == nil || !strings.Contains(err.Error(), "2.36 or newer") {
		t.Fatal(err)
	}
}

func TestTemplateEscapesKeys(t *testing.T) {
	t.Parallel()
	template, err := parseTemplate("https://host/git/{key}.git", []string{"https"}, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	remote, err := template.remote("a b/-x/ü?#%2e%2e@:{key}")
	transfertest.Must(t, err)
	if remote.url != "https://host/git/a%20b/-x/%C3%BC%3F%23%252e%252e@:%7Bkey%7D.git" {
		t.Fatal(remote.url)
	}
}

func TestOddRepositoryNames(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	for _, key := range []string{
		"-x", "--upload-pack=touch pwned", "sp ace.git", "quo'te\".git", "ünï.git", "a:b", "$(id)", "`id`", "{key}", "x.lock",
		`back\slash`, "*", "~", "%2e%2e", "ext::sh",
	} {
		b.newSource(t, key)
		b.mustSync(t, key)
		b.mustSync(t, key)
		transfertest.Must(t, b.remove(t, key))
	}
}

// A git that never ends is killed with all that it has started.
func TestCancelKillsTheProcessGroup(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	pids := filepath.Join(folder, "pids")
	transfertest.Must(t, unix.Mkfifo(pids, 0o600))
	script := filepath.Join(folder, "hanging-git")
	transfertest.Must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
case " $* " in
*" version "*) echo git version 2.40.2;;
*) sleep 1000 & echo $$ $! >%s; wait;;
esac
`, pids), 0o755))
	b := setup(t, func(c *Config) { c.GitPath = script })
	b.newSource(t, "r.git")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	transfertest.Must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("claim lost")
	done := make(chan error)
	go func() {
		_, err := run.Copy(ctx, nil)
		done <- err
	}()
	started, err := os.ReadFile(pids) // blocks until the script writes
	transfertest.Must(t, err)
	cancel(lost)
	transfertest.WantError(t, <-done, lost)
	transfertest.Must(t, run.Close())
	for pid := range strings.FieldsSeq(string(started)) {
		// A grandchild that is killed takes a moment to end, and may be a zombie that init has
		// not reaped yet.
		await.True(t, 10*time.Second, "process "+pid+" has ended", func() bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
	transfertest.WantNoStaging(t, b.target)
}

func TestGitErrorIsShortAndHasNoPassword(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	script := filepath.Join(folder, "loud-git")
	transfertest.Must(t, os.WriteFile(script, []byte(`#!/bin/sh
case " $* " in
*" version "*) echo git version 2.40.2; exit;;
esac
i=0; while [ $i -lt 3000 ]; do echo "noise $i" >&2; i=$((i+1)); done
echo "fatal: unable to access 'https://user:secret@host/r.git'" >&2
exit 128
`), 0o755))
	b := setup(t, func(c *Config) { c.GitPath = script })
	b.newSource(t, "r.git")
	_, err := b.sync(t, b.place("r.git"))
	if err == nil || len(err.Error()) > 2*tailSize || strings.Contains(err.Error(), "secret") ||
		!strings.Contains(err.Error(), "https://***@host/r.git") || errors.Is(err, transfer.ErrMissing) {
		t.Fatal(err)
	}
}

// A git of somebody's own may lie beside what nobody is to read.
func TestFoldersOfAGit(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	transfertest.Must(t, os.MkdirAll(home+"/bin", 0o755))
	transfertest.Must(t, os.WriteFile(home+"/bin/git", nil, 0o755))
	folders := foldersOf(home + "/bin/git")
	if !slices.Contains(folders, home+"/bin") || !slices.Contains(folders, home+"/libexec") || slices.Contains(folders, home) {
		t.Errorf("git may read %v", folders)
	}
}
