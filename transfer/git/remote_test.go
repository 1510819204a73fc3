package git

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// setupHTTP serves the bundle's sources below /git/, and asks for a password
// below /private/.
func setupHTTP(t *testing.T) *bundle {
	t.Helper()
	handler, root := httpSources(t)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	b := setup(t, func(c *Config) {
		c.SourceURL, c.AllowedProtocols = server.URL+"/git/{key}.git", []string{"http"}
	})
	b.source = root
	return b
}

// httpSources serves the repositories of a folder.
func httpSources(t *testing.T) (handler http.Handler, root string) {
	t.Helper()
	root = t.TempDir()
	backend := &cgi.Handler{
		Path: filepath.Join(transfertest.Git(t, root, "--exec-path"), "git-http-backend"),
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
	return mux, root
}

// A server whose certificate is signed by an authority of one's own is trusted where that
// is named, and nowhere else.
func TestRepositoryOverHTTPS(t *testing.T) {
	t.Parallel()
	handler, root := httpSources(t)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca 1.pem")
	transfertest.Must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	for _, trusted := range []bool{true, false} {
		b := setup(t, func(c *Config) {
			c.SourceURL = server.URL + "/git/{key}.git"
			if trusted {
				c.CAFile = authority
			}
		})
		b.source = root
		b.newSource(t, fmt.Sprintf("%t.git", trusted))
		_, err := b.sync(t, b.place(fmt.Sprint(trusted)))
		if !trusted {
			transfertest.WantVerdict(t, err, transfertest.ErrAny, "certificate")
			continue
		}
		transfertest.Must(t, err)
		b.wantSameHTTP(t, "true")
	}
}

func (b *bundle) wantSameHTTP(t *testing.T, key string) {
	t.Helper()
	want, got := transfertest.State(t, b.source+"/"+key+".git"), transfertest.State(t, b.target+"/"+key)
	if want != got {
		t.Fatalf("source:\n%s\ntarget:\n%s", want, got)
	}
}

func TestRepositoryOverHTTP(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupHTTP(t)
	for _, key := range []string{"plain", "gr oup/ü#1"} {
		dir := b.newSource(t, key+".git")
		for _, do := range []func(){
			func() {},
			func() { transfertest.Commit(t, dir, "refs/heads/main", "two") },
			func() { transfertest.Commit(t, dir, "refs/heads/a", "a") },
			func() { transfertest.Git(t, dir, "branch", "-m", "a", "a/b") },
			func() { transfertest.Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/a/b") },
			func() { transfertest.Git(t, dir, "update-ref", "-d", "refs/heads/main") },
		} {
			do()
			_, err := b.sync(t, b.place(key))
			transfertest.Must(t, err)
			b.wantSameHTTP(t, key)
		}
	}
	transfertest.WantNoStaging(t, b.target)
}

// HEAD of an empty repository is known to a clone only; the protocol does not
// tell it to a fetch.
func TestEmptyRepositoryOverHTTP(t *testing.T) {
	t.Parallel()
	b := setupHTTP(t)
	dir := filepath.Join(b.source, "e.git")
	transfertest.Must(t, os.MkdirAll(dir, 0o755))
	transfertest.Git(t, dir, "init", "--quiet", "--bare", "--initial-branch=unborn")
	for range 2 {
		_, err := b.sync(t, b.place("e"))
		transfertest.Must(t, err)
		b.wantSameHTTP(t, "e")
	}
	transfertest.Commit(t, dir, "refs/heads/unborn", "x")
	_, err := b.sync(t, b.place("e"))
	transfertest.Must(t, err)
	b.wantSameHTTP(t, "e")
}

func TestHTTPErrors(t *testing.T) {
	t.Parallel()
	b := setupHTTP(t)
	_, err := b.sync(t, b.place("none"))
	transfertest.WantError(t, err, transfer.ErrMissing)
	for key, text := range map[string]string{
		"private/x": "could not read Username", "broken/x": "502", "elsewhere/x": "file",
	} {
		_, err := b.sync(t, b.place(key))
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", key, err)
		}
		for _, sentinel := range []error{transfer.ErrMissing, transfer.ErrFenced, transfer.ErrChanged, transfer.ErrBadPlace} {
			if strings.Contains(fmt.Sprint(err), sentinel.Error()) {
				t.Errorf("%s: %v is taken for %v", key, err, sentinel)
			}
		}
		transfertest.WantAbsent(t, b.target, strings.Split(key, "/")[0])
	}
	transfertest.WantNoStaging(t, b.target)
}

// reported makes a git that reports its process id through a FIFO before it
// runs the given shell code instead of, or before, the real command.
func reported(t *testing.T, command, code string) (script string, pid func() int) {
	t.Helper()
	folder := t.TempDir()
	fifo := filepath.Join(folder, "pid")
	transfertest.Must(t, unix.Mkfifo(fifo, 0o600))
	script = filepath.Join(folder, "reporting-git")
	transfertest.Must(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
git=%s
for arg; do case $arg in %s) echo $$ >%s; %s;; esac; done
exec $git "$@"
`, transfertest.GitPath(t), command, fifo, code), 0o755))
	// Held open for writing, too: read to its end, two reports that come together
	// would be taken for one.
	file, err := os.OpenFile(fifo, os.O_RDWR, 0)
	transfertest.Must(t, err)
	t.Cleanup(func() { transfertest.Must(t, file.Close()) })
	reports := bufio.NewReader(file)
	return script, func() int {
		line, err := reports.ReadString('\n') // blocks until the script writes
		transfertest.Must(t, err)
		var id int
		_, err = fmt.Sscan(line, &id)
		transfertest.Must(t, err)
		return id
	}
}

// A worker that is killed takes its git along: nobody is left who writes.
func TestGitDiesWithItsParent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.newSource(t, "r.git")
	script, pid := reported(t, "clone", "exec sleep 1000")
	worker := transfertest.Start(t, &transfertest.Child{
		Source: b.source, Target: b.target, Place: b.place("r.git"), GitPath: script,
	})
	handle, err := unix.PidfdOpen(pid(), 0)
	transfertest.Must(t, err)
	defer func() { transfertest.Must(t, unix.Close(handle)) }()
	worker.Kill()
	n := 0
	err = folder.Retry(func() (err error) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, 30_000)
		return err
	})
	if err != nil || n != 1 {
		t.Fatalf("git lives on: %d %v", n, err)
	}
	b.mustSync(t, "r.git")
	transfertest.WantNoStaging(t, b.target)
}

// The git process of a ref update is stopped itself, with its locks held and
// the transaction prepared. No ref can fence it any more, so the mirror is left
// to it.
func TestFrozenGit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.grace = 50 * time.Millisecond
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	original := transfertest.Git(t, dir, "rev-parse", "main")
	transfertest.Commit(t, dir, "refs/heads/main", "version 1")
	thaw := filepath.Join(t.TempDir(), "thaw")
	transfertest.Must(t, unix.Mkfifo(thaw, 0o600))
	script, prepared := reported(t, "update-ref", fmt.Sprintf(`[ "$2" = core.fsync=all ] || exec $git "$@"
		{ sed '$d'; read -r commit <%s; echo $commit; } | $git "$@"
		exit $?`, thaw))
	worker := transfertest.Start(t, &transfertest.Child{
		Source: b.source, Target: b.target, Place: b.place("r.git"), GitPath: script,
	})
	prepared() // raising the fence
	prepared() // the transaction
	lock := b.target + "/r.git/refs/heads/main.lock"
	transfertest.Wait(t, func() bool { _, err := os.Stat(lock); return err == nil })
	transfertest.Git(t, dir, "update-ref", "refs/heads/main", original)
	b.mustSync(t, "r.git")
	transfertest.Must(t, os.WriteFile(thaw, []byte("commit\n"), 0o600))
	if said := worker.Said(t); said != "fenced" {
		t.Fatalf("late process says %q", said)
	}
	b.wantSame(t, "r.git")
	transfertest.WantNoStaging(t, b.target)
}
