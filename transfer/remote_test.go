package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// setupHTTP serves the bundle's sources below /git/, and asks for a password
// below /private/.
func setupHTTP(t *testing.T) *repositoriesBundle {
	t.Helper()
	root := t.TempDir()
	backend := &cgi.Handler{
		Path: filepath.Join(gitIn(t, root, "--exec-path"), "git-http-backend"),
		Root: "/git", Stderr: io.Discard,
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/git/", backend)
	mux.HandleFunc("/git/private/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Basic")
		http.Error(w, "who are you", http.StatusUnauthorized)
	})
	mux.HandleFunc("/git/broken/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusBadGateway)
	})
	mux.HandleFunc("/git/elsewhere/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc", http.StatusFound)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := setupRepositories(t, func(c *RepositoriesConfig) {
		c.SourceURL, c.AllowedProtocols = server.URL+"/git/{key}.git", []string{"http"}
	})
	b.source = root
	return b
}

func (b *repositoriesBundle) wantSameHTTP(t *testing.T, key string) {
	t.Helper()
	want, got := state(t, b.source+"/"+key+".git"), state(t, b.target+"/"+key)
	if want != got {
		t.Fatalf("source:\n%s\ntarget:\n%s", want, got)
	}
}

func TestRepositoryOverHTTP(t *testing.T) {
	t.Parallel()
	b := setupHTTP(t)
	for _, key := range []string{"plain", "gr oup/ü#1"} {
		dir := b.newSource(t, key+".git")
		for _, do := range []func(){
			func() {},
			func() { commit(t, dir, "refs/heads/main", "two") },
			func() { commit(t, dir, "refs/heads/a", "a") },
			func() { gitIn(t, dir, "branch", "-m", "a", "a/b") },
			func() { gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/a/b") },
			func() { gitIn(t, dir, "update-ref", "-d", "refs/heads/main") },
		} {
			do()
			_, err := b.sync(t, b.place(key))
			must(t, err)
			b.wantSameHTTP(t, key)
		}
	}
	wantNoStaging(t, b.target)
}

// HEAD of an empty repository is known to a clone only; the protocol does not
// tell it to a fetch.
func TestEmptyRepositoryOverHTTP(t *testing.T) {
	t.Parallel()
	b := setupHTTP(t)
	dir := filepath.Join(b.source, "e.git")
	must(t, os.MkdirAll(dir, 0o755))
	gitIn(t, dir, "init", "--quiet", "--bare", "--initial-branch=unborn")
	for range 2 {
		_, err := b.sync(t, b.place("e"))
		must(t, err)
		b.wantSameHTTP(t, "e")
	}
	commit(t, dir, "refs/heads/unborn", "x")
	_, err := b.sync(t, b.place("e"))
	must(t, err)
	b.wantSameHTTP(t, "e")
}

func TestHTTPErrors(t *testing.T) {
	t.Parallel()
	b := setupHTTP(t)
	_, err := b.sync(t, b.place("none"))
	wantError(t, err, ErrMissing)
	for key, text := range map[string]string{
		"private/x": "could not read Username", "broken/x": "502", "elsewhere/x": "file",
	} {
		_, err := b.sync(t, b.place(key))
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", key, err)
		}
		for _, sentinel := range []error{ErrMissing, ErrFenced, ErrChanged, ErrBadPlace} {
			if strings.Contains(fmt.Sprint(err), sentinel.Error()) {
				t.Errorf("%s: %v is taken for %v", key, err, sentinel)
			}
		}
		wantAbsent(t, b.target, strings.Split(key, "/")[0])
	}
	wantNoStaging(t, b.target)
}

// reported makes a git that reports its process id through a FIFO before it
// runs the given shell code instead of, or before, the real command.
func reported(t *testing.T, command, code string) (script string, pid func() int) {
	t.Helper()
	folder := t.TempDir()
	fifo := filepath.Join(folder, "pid")
	must(t, unix.Mkfifo(fifo, 0o600))
	script = filepath.Join(folder, "reporting-git")
	must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
git=%s
for arg; do case $arg in %s) echo $$ >%s; %s;; esac; done
exec $git "$@"
`, gitPath(t), command, fifo, code), 0o755))
	// Held open for writing, too: read to its end, two reports that come together
	// would be taken for one.
	file, err := os.OpenFile(fifo, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { must(t, file.Close()) })
	reports := bufio.NewReader(file)
	return script, func() int {
		line, err := reports.ReadString('\n') // blocks until the script writes
		must(t, err)
		var id int
		_, err = fmt.Sscan(line, &id)
		must(t, err)
		return id
	}
}

// A worker that is killed takes its git along: nobody is left who writes.
func TestGitDiesWithItsParent(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	b.newSource(t, "r.git")
	script, pid := reported(t, "clone", "exec sleep 1000")
	worker := startChild(t, &childSpec{
		Source: b.source, Target: b.target, Repository: true, Place: b.place("r.git"), GitPath: script,
	})
	handle, err := unix.PidfdOpen(pid(), 0)
	must(t, err)
	defer func() { must(t, unix.Close(handle)) }()
	worker.Kill()
	n := 0
	err = eintr(func() (err error) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, 30_000)
		return err
	})
	if err != nil || n != 1 {
		t.Fatalf("git lives on: %d %v", n, err)
	}
	b.mustSync(t, "r.git")
	wantNoStaging(t, b.target)
}

// The git process of a ref update is stopped itself, with its locks held and
// the transaction prepared. No ref can fence it any more, so the mirror is left
// to it.
func TestFrozenGit(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	b.grace = 50 * time.Millisecond
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	original := gitIn(t, dir, "rev-parse", "main")
	commit(t, dir, "refs/heads/main", "version 1")
	thaw := filepath.Join(t.TempDir(), "thaw")
	must(t, unix.Mkfifo(thaw, 0o600))
	script, prepared := reported(t, "update-ref", fmt.Sprintf(`[ "$2" = core.fsync=all ] || exec $git "$@"
		{ sed '$d'; read -r commit <%s; echo $commit; } | $git "$@"
		exit $?`, thaw))
	worker := startChild(t, &childSpec{
		Source: b.source, Target: b.target, Repository: true, Place: b.place("r.git"), GitPath: script,
	})
	prepared() // raising the fence
	prepared() // the transaction
	lock := b.target + "/r.git/refs/heads/main.lock"
	wait(t, func() bool { _, err := os.Stat(lock); return err == nil })
	gitIn(t, dir, "update-ref", "refs/heads/main", original)
	b.mustSync(t, "r.git")
	must(t, os.WriteFile(thaw, []byte("commit\n"), 0o600))
	must(t, worker.Err())
	if said := strings.TrimSpace(worker.out.String()); said != "fenced" {
		t.Fatalf("late process says %q", said)
	}
	b.wantSame(t, "r.git")
	wantNoStaging(t, b.target)
}

func wait(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if condition() {
			return
		}
	}
	t.Fatal("waited for 10 s in vain")
}

// awaitRelease returns when what a closed descriptor kept busy is free. A process
// that another test starts has a copy of each descriptor until its exec has closed
// them, which is a moment after the fork has returned here.
func awaitRelease(t *testing.T, try func() error) {
	t.Helper()
	var err error
	wait(t, func() bool {
		err = try()
		return !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EWOULDBLOCK)
	})
	must(t, err)
}
