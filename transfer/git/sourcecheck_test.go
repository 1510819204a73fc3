package git

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/landlock"
	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/transfer"

	"golang.org/x/sys/unix"
)

// What keeps git for ever, or leads it elsewhere, is refused before git is let
// loose on it, for a first copy as for an update and a verification.
func TestSourceHasFilesAndFoldersOnly(t *testing.T) {
	t.Parallel()
	fifo := func(name string) func(t *testing.T, dir, _ string) {
		return func(t *testing.T, dir, _ string) {
			path := filepath.Join(dir, name)
			_ = os.Remove(path)
			transfertest.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			transfertest.Must(t, unix.Mkfifo(path, 0o644))
		}
	}
	link := func(name string) func(t *testing.T, dir, outside string) {
		return func(t *testing.T, dir, outside string) {
			path := filepath.Join(dir, name)
			transfertest.Must(t, os.RemoveAll(path))
			transfertest.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			transfertest.Must(t, os.Symlink(filepath.Join(outside, name), path))
		}
	}
	hostile := map[string]func(t *testing.T, dir, outside string){
		"alternates elsewhere": func(t *testing.T, dir, outside string) {
			transfertest.Write(t, dir, "objects/info/alternates", outside+"/objects\n")
		},
		"alternates above": func(t *testing.T, dir, _ string) {
			transfertest.Write(t, dir, "objects/info/alternates", "../../../x/objects\n")
		},
		"alternates, quoted": func(t *testing.T, dir, outside string) {
			transfertest.Write(t, dir, "objects/info/alternates", fmt.Sprintf("%q\n", outside+"/objects"))
		},
		"alternates of an alternate": func(t *testing.T, dir, outside string) {
			transfertest.Write(t, dir, "../pool.git/objects/info/alternates", outside+"/objects\n")
			transfertest.Write(t, dir, "objects/info/alternates", "../../pool.git/objects\n")
		},
		"a link in an alternate": func(t *testing.T, dir, outside string) {
			link("objects/ab")(t, filepath.Join(filepath.Dir(dir), "pool.git"), outside)
			transfertest.Write(t, dir, "objects/info/alternates", "../../pool.git/objects\n")
		},
		"alternates in a circle": func(t *testing.T, dir, _ string) {
			transfertest.Write(t, dir, "objects/info/alternates", "../objects\n")
		},
	}
	for _, name := range []string{"config", "packed-refs", "HEAD", "refs/heads/x", "refs/deep/er", "objects/info/alternates", "objects/aa/bb", "shallow", "info/attributes"} {
		hostile["fifo "+name], hostile["link "+name] = fifo(name), link(name)
	}
	for _, name := range []string{"objects", "refs", "objects/pack", "objects/ab", "refs/heads"} {
		hostile["link "+name] = link(name)
	}
	for name, plant := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			outside := t.TempDir()
			transfertest.Git(t, outside, "init", "--quiet", "--bare")
			transfertest.Commit(t, outside, "refs/heads/main", "secret")
			transfertest.Git(t, outside, "pack-refs", "--all")
			b.newSource(t, "pool.git")
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			before := transfertest.State(t, filepath.Join(b.target, "r.git"))
			plant(t, dir, outside)
			for _, fresh := range []bool{false, true} {
				place := b.place("r.git")
				place.Fresh = fresh
				_, err := b.sync(t, place)
				transfertest.WantError(t, err, transfer.ErrUnsafe)
			}
			transfertest.WantError(t, b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, ""), transfer.ErrUnsafe)
			if after := transfertest.State(t, filepath.Join(b.target, "r.git")); after != before {
				t.Errorf("the mirror is now %s", after)
			}
		})
	}
}

// Pools of objects in the same source are used by forks.
func TestSourceMayBorrowWithinTheSource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pool := b.newSource(t, "pool.git")
	for name, line := range map[string]string{
		"relative": "../../pool.git/objects", "absolute": pool + "/objects", "commented": "# a pool\n\n../../pool.git/objects",
	} {
		key := name + ".git"
		transfertest.Git(t, b.source, "clone", "--quiet", "--mirror", "pool.git", key)
		transfertest.Must(t, os.RemoveAll(filepath.Join(b.source, key, "objects", "pack")))
		transfertest.Must(t, os.Mkdir(filepath.Join(b.source, key, "objects", "pack"), 0o755))
		transfertest.Must(t, os.RemoveAll(filepath.Join(b.source, key, "objects")))
		transfertest.Write(t, b.source, key+"/objects/info/alternates", line+"\n")
		b.mustSync(t, key)
		transfertest.Commit(t, filepath.Join(b.source, key), "refs/heads/main", "more")
		b.mustSync(t, key)
		transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: key}, nil, ""))
	}
}

// What is put there after it was checked leads nowhere: git is kept from reading
// it, and what has been read is checked again.
func TestSourceThatIsSwitchedAfterTheCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ back, unconfined bool }{{}, {back: true}, {unconfined: true}} {
		back := c.back
		t.Run(fmt.Sprintf("and back is %v, unconfined %v", back, c.unconfined), func(t *testing.T) {
			t.Parallel()
			if back && !landlock.Supported() {
				t.Skip("the kernel has no Landlock")
			}
			source, outside := t.TempDir(), t.TempDir()
			transfertest.Git(t, outside, "init", "--quiet", "--bare")
			secret := transfertest.Commit(t, outside, "refs/heads/secret", "secret")
			transfertest.Git(t, outside, "pack-refs", "--all")
			// A git that switches the source just before it really runs.
			script := filepath.Join(t.TempDir(), "switching-git")
			again := ""
			if back {
				again = "rm -rf packed-refs objects; mv packed-refs.real packed-refs; mv objects.real objects"
			}
			transfertest.Must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
for arg; do case $arg in ls-remote|fetch|clone)
  (cd %[1]s/r.git; [ -d objects.real ] || { mv packed-refs packed-refs.real; mv objects objects.real
   ln -s %[2]s/packed-refs packed-refs; ln -s %[2]s/objects objects; })
  %[3]s "$@"; code=$?
  (cd %[1]s/r.git; :; %[4]s)
  exit $code;;
esac; done
exec %[3]s "$@"
`, source, outside, transfertest.GitPath(t), again), 0o755))
			b := setup(t, func(config *Config) {
				config.SourceURL, config.GitPath = source, script
			})
			if c.unconfined {
				b.unconfine(t)
			}
			b.source = source
			dir := b.newSource(t, "r.git")
			transfertest.Git(t, dir, "pack-refs", "--all")
			_, err := b.sync(t, b.place("r.git"))
			if err == nil || !back && !strings.Contains(err.Error(), "symbolic link") {
				t.Errorf("error is %v", err)
			}
			transfertest.WantAbsent(t, b.target, "r.git")
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("it tells: %v", err)
			}
		})
	}
}

// Neither a verification nor a copy tells anything of what was switched in while
// the source was listed, or takes a source that has lost its name meanwhile for it.
func TestSourceThatIsSwitchedWhileItIsListed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  string // in the source's folder, before git lists r.git; $1 is another repository
		want error
	}{
		"a link": {`mv r.git/packed-refs r.git/real && ln -s "$1/packed-refs" r.git/packed-refs
			mv r.git/objects r.git/objects.real && ln -s "$1/objects" r.git/objects`, transfer.ErrUnsafe},
		"a link to a list of no refs": {`mv r.git/packed-refs r.git/real && ln -s "$1/shadow" r.git/packed-refs`, transfer.ErrUnsafe},
		"another folder":              {`cd .. && mv source moved && mkdir source`, transfer.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above, outside := t.TempDir(), t.TempDir()
			source := filepath.Join(above, "source")
			transfertest.Must(t, os.Mkdir(source, 0o755))
			transfertest.Git(t, outside, "init", "--quiet", "--bare")
			secret := transfertest.Commit(t, outside, "refs/heads/secret", "secret")
			transfertest.Git(t, outside, "pack-refs", "--all")
			transfertest.Write(t, outside, "shadow", "root:"+secret+"\n")
			script, armed := filepath.Join(t.TempDir(), "switching-git"), filepath.Join(above, "armed")
			transfertest.WriteProgram(t, script, fmt.Sprintf(`#!/bin/sh
case " $* " in *" ls-remote "*) if rm %[1]s 2>/dev/null; then (set -- %[3]s; cd %[2]s; %[4]s); fi;; esac
exec %[5]s "$@"
`, armed, source, outside, c.act, transfertest.GitPath(t)))
			b := setup(t, func(config *Config) {
				config.SourceURL, config.GitPath = source, script
			})
			b.unconfine(t)
			b.source = source
			dir := b.newSource(t, "r.git")
			b.mustSync(t, "r.git")
			transfertest.Commit(t, dir, "refs/heads/main", "more") // so that a copy lists it, too
			transfertest.Git(t, dir, "pack-refs", "--all")
			before := filepath.Join(above, "before")
			transfertest.Must(t, os.CopyFS(before, os.DirFS(source)))
			for what, act := range map[string]func() error{
				"verify": func() error { return b.Verify(t.Context(), transfer.Place{Key: "r.git"}, nil, "") },
				"copy":   func() error { _, err := b.sync(t, b.place("r.git")); return err },
			} {
				transfertest.Must(t, os.RemoveAll(source))
				transfertest.Must(t, os.CopyFS(source, os.DirFS(before)))
				transfertest.Must(t, os.WriteFile(armed, nil, 0o600))
				err := act()
				if !errors.Is(err, c.want) {
					t.Errorf("%s: error is %v, want %v", what, err, c.want)
				}
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s tells: %v", what, err)
				}
				_ = os.RemoveAll(filepath.Join(above, "moved"))
			}
		})
	}
}

// A kernel without Landlock is told of once, and copies all the same.
func TestGitIsNotConfinedWithoutLandlock(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	b := setup(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&said, nil))
	})
	said.Reset() // the kernel's own
	b.unconfine(t)
	b.newSource(t, "r.git")
	if _, err := b.sync(t, b.place("r.git")); err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "the kernel has no Landlock"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
}

// A git that does nothing is ended, whatever it waits for.
func TestGitWithoutProgressIsEnded(t *testing.T) {
	long.Test(t)
	t.Parallel()
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	transfertest.Must(t, unix.Mkfifo(fifo, 0o600))
	script := filepath.Join(folder, "waiting-git")
	transfertest.Must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
case " $* " in *" ls-remote "*) exec %[1]s hash-object --stdin <%[2]s;; esac
exec %[1]s "$@"
`, transfertest.GitPath(t), fifo), 0o755))
	b := setup(t, func(c *Config) { c.GitPath = script })
	b.git.stall = 300 * time.Millisecond
	dir := b.newSource(t, "r.git")
	_, err := b.sync(t, b.place("r.git"))
	if err != nil { // a clone lists afterwards
		wantStalled(t, err)
	}
	writer, err := os.OpenFile(fifo, os.O_RDWR, 0)
	transfertest.Must(t, err)
	defer writer.Close()
	transfertest.Commit(t, dir, "refs/heads/main", "two")
	_, err = b.sync(t, b.place("r.git"))
	wantStalled(t, err)
	transfertest.WantNoStaging(t, b.target)
}

func wantStalled(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "no progress") {
		t.Fatalf("error is %v", err)
	}
}
