package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSourcesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	file := filepath.Join(parent, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	closed := filepath.Join(parent, "closed")
	must(t, os.Mkdir(closed, 0))
	for _, test := range []struct {
		name, source, temporary, want string
	}{
		{"missing", filepath.Join(parent, "no", "such"), parent, "no such file or directory"},
		{"a file", file, parent, "is not a folder"},
		{"contains the temporary folder", parent, parent, "contains the folder for temporary files"},
		{"contains it below", "/", parent, "contains the folder for temporary files"},
		{"unreadable", closed, parent, "permission denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.source == closed && os.Geteuid() == 0 {
				t.Skip("nothing is closed to root")
			}
			err := run(t.Context(), config{Worker: "/bin/true", Source: test.source, temporary: test.temporary})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want %q in it", err, test.want)
			}
			if left, err := filepath.Glob(filepath.Join(parent, "casq-*")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// A command line that cannot be followed is refused before anything is started.
func TestCommandLinesThatAreRefused(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`"there" is no flag`:            {"there"},
		"flag provided but not defined": {"-nowhere"},
		"find the worker program":       {"-worker", filepath.Join(t.TempDir(), "worker")},
		"open source":                   {"-worker", "/bin/true", "-source", filepath.Join(t.TempDir(), "none")},
	} {
		if err := start(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error is %v, want %q in it", args, err, want)
		}
	}
}

func TestWhatCannotBeAKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("d", 127)+"/", 8)
	for path, want := range map[string]string{
		"a":                      "",
		"a/b c/'\"$`\\":          "",
		"ünï":                    "",
		"a/.casq":                "",
		".casqx":                 "",
		long[:1024-1]:            "",
		long + "x":               "path is longer than 1024 bytes",
		"bad\xff":                "name is not UTF-8",
		"a/\n":                   "name has a control character",
		"a\x7f":                  "name has a control character",
		"a\u0085":                "name has a control character",
		".casq":                  "lies in .casq, which is kept for staging",
		".CASQ/x":                "lies in .casq, which is kept for staging",
		strings.Repeat("é", 512): "",
		strings.Repeat("é", 513): "path is longer than 1024 bytes",
	} {
		if got := badKey(path); got != want {
			t.Errorf("badKey(%s) = %q, want %q", quoteName(path), got, want)
		}
	}
}

func TestRepositoryKeys(t *testing.T) {
	t.Parallel()
	for rel, want := range map[string]string{
		".":                        "src.git",
		".git":                     "src.git",
		"a/.git":                   "a.git",
		"a/b/.git":                 "a/b.git",
		"a.git":                    "a.git",
		"a/.git/modules/lib":       "a/.git_/modules/lib.git",
		"a.git/modules/lib":        "a.git_/modules/lib.git",
		"a.git/.git":               "a.git",
		"x/a.git/modules/b.git":    "x/a.git_/modules/b.git",
		".git/modules/lib/modules": ".git_/modules/lib/modules.git",
	} {
		if got := repositoryKey(rel, "/usr/src"); got != want {
			t.Errorf("repositoryKey(%q) = %q, want %q", rel, got, want)
		}
	}
}

func TestRepositoriesHaveDifferentKeys(t *testing.T) {
	t.Parallel()
	s := &scan{root: "/src", gitFolders: []string{".git", "a/.git", "a.git", "own/.git", "bad\n.git"}}
	var keys []string
	for _, r := range planRepositories("/src/own/.git", s, "/p") {
		keys = append(keys, r.key+" "+r.origin)
	}
	got, want := strings.Join(keys, ", "), "own.git /src/own/.git, src.git /src/.git, a.git /src/a/.git, a-2.git /src/a.git"
	if got != want {
		t.Errorf("planned %s, want %s", got, want)
	}
	if lines := s.skipped.lines(); len(lines) != 1 {
		t.Errorf("skipped %v", lines)
	}
}

func TestReadingDoesNotWaitOrFollow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link, loop := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "gone")
	must(t, syscall.Mkfifo(pipe, 0o600))
	must(t, os.Symlink("/etc/hostname", link))
	for path, want := range map[string]string{
		pipe: "became something else while it was read",
		link: "became something else while it was read",
		loop: "vanished while it was read",
	} {
		file, err := openRegular(path)
		if err == nil {
			t.Errorf("%s was opened: %v", path, file.Close())
			continue
		}
		if got := whyUnread(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := whyUnread(&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}); got != "" {
		t.Errorf("a broken disk is passed over: %q", got)
	}
	if got := whyUnread(&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}); got != "no permission to read" {
		t.Errorf("a closed file: %q", got)
	}
}

func TestLeftOversOfTheDeadAreRemoved(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	alive, err := openWorkspace(base, false)
	must(t, err)
	kept, err := openWorkspace(base, true)
	must(t, err)
	must(t, kept.keep())
	killed, err := openWorkspace(base, false)
	must(t, err)
	must(t, os.WriteFile(killed.path("file"), nil, 0o600))
	must(t, killed.lock.Close()) // as the kernel does

	next, err := openWorkspace(base, false)
	must(t, err)

	for _, test := range []struct {
		name string
		w    *workspace
		want bool
	}{{"alive", alive, true}, {"kept", kept, true}, {"killed", killed, false}, {"next", next, true}} {
		_, err := os.Lstat(test.w.dir)
		if there := !errors.Is(err, fs.ErrNotExist); there != test.want {
			t.Errorf("%s: there is %v, want %v", test.name, there, test.want)
		}
	}
	must(t, errors.Join(alive.remove(), next.remove()))
}

func TestAnEmptySourceIsNoError(t *testing.T) {
	t.Parallel()
	skipShort(t)
	b := setup(t)
	b.config.Source = t.TempDir()
	out, err := b.run(t.Context())
	must(t, err)
	wantAll(t, out, ": 0 files, 0 B", "demo: OK")
}
