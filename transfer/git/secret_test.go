package git

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A password gets to the server, and nowhere else: not into a command line, which
// everybody on the machine can read, and not into a message.
func TestPasswordIsInNoCommandLine(t *testing.T) {
	t.Parallel()
	const user, password = "us'er", `pa's"s\wo@rd/$(x) %`
	root, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	backend := &cgi.Handler{
		Path: filepath.Join(transfertest.Git(t, root, "--exec-path"), "git-http-backend"), Root: "/git",
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	// Another origin gets no password.
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, has := r.BasicAuth(); has {
			t.Errorf("a stranger was told: %v", r.Header)
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(stranger.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gotUser, gotPassword, _ := r.BasicAuth()
		switch {
		case strings.Contains(r.URL.Path, "elsewhere"):
			http.Redirect(w, r, stranger.URL+r.URL.Path, http.StatusFound)
		case gotUser != user || gotPassword != password:
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
		default:
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	script := filepath.Join(t.TempDir(), "logging-git")
	transfertest.WriteProgram(t, script, fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$@\" >>%s\nexec %s \"$@\"\n", log, transfertest.GitPath(t)))
	host := strings.TrimPrefix(server.URL, "http://")
	b := setup(t, func(c *Config) {
		c.SourceURL = "http://" + url.UserPassword(user, password).String() + "@" + host + "/git/{key}.git"
		c.AllowedProtocols, c.GitPath = []string{"http"}, script
	})
	b.source = root
	dir := b.newSource(t, "r.git")
	for range 2 { // a clone, and an update
		_, err := b.sync(t, b.place("r"))
		transfertest.Must(t, err)
		b.wantSameHTTP(t, "r")
		transfertest.Commit(t, dir, "refs/heads/main", "more")
	}
	_, err := b.sync(t, b.place("elsewhere"))
	if err == nil {
		t.Error("a stranger's repository was copied")
	}
	said, readErr := os.ReadFile(log)
	transfertest.Must(t, readErr)
	for _, text := range []string{string(said), fmt.Sprint(err)} {
		for _, secret := range []string{password, url.QueryEscape(password), "wo@rd", "us'er", "us%27er", "pa%27s"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
	}
	if !strings.Contains(string(said), "fetch") || !strings.Contains(string(said), host) {
		t.Errorf("the log has %s", said)
	}
}

// A template that is refused is quoted without its password, however odd that is.
func TestRefusedTemplatesAreRedacted(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://u:sec/ret@host/{key}", "https://u:sec ret@host/{key}", "https://u:sec#ret@host/{key}", "https://u:sec%ret@host/{key}", "ssh://u:secret@host/{key}"} {
		_, err := Open(t.Context(), Config{SourceURL: address, TargetDir: t.TempDir()})
		if err == nil || strings.Contains(err.Error(), "sec") || strings.Contains(err.Error(), "ret@") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A git with a known hole is refused by its number, unless it has been patched.
func TestGitWithHolesIsRefused(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.36.6": false, "2.38.5": false, "2.39.3": false, "2.39.4": true, "2.39.5": true, "2.40.1": false, "2.40.2": true,
		"2.43.0": false, "2.43.4": true, "2.45.0": false, "2.45.1": true, "2.46.0": true, "2.50.1.windows.1": true, "3.0.0": true,
		"2.39.5 (Apple Git-154)": true,
	} {
		for _, patched := range []bool{false, true} {
			folder := t.TempDir()
			script, fetches := filepath.Join(folder, "git"), "fatal: '/casq-does-not-exist' does not appear to be a git repository"
			if patched {
				fetches = "fatal: Not a valid object name"
			}
			transfertest.WriteProgram(t, script, fmt.Sprintf("#!/bin/sh\ncase \"$*\" in version) echo git version '%s'; exit;; esac\necho %q >&2; exit 128\n", version, fetches))
			r, err := Open(t.Context(), Config{SourceURL: t.TempDir(), TargetDir: t.TempDir(), GitPath: script})
			if (err == nil) != (want || patched) || err != nil && !strings.Contains(err.Error(), "CVE-2024-32465") {
				t.Errorf("%s, patched %v: %v", version, patched, err)
			}
			if err == nil {
				transfertest.Must(t, r.Close())
			}
		}
	}
	b := setup(t)
	if fetches, err := b.git.fetchesLazily(t.Context()); fetches || err != nil {
		t.Errorf("this machine's git fetches lazily: %v, %v", fetches, err)
	}
}

// A repository that says itself whom to ask for what it lacks does not have that
// run.
func TestSourceIsNotAskedToFetch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r.git")
	proof := filepath.Join(t.TempDir(), "ran")
	transfertest.Write(t, dir, "blob", "bytes")
	oid := transfertest.Git(t, dir, "hash-object", "-w", "blob")
	transfertest.Git(t, dir, "update-index", "--add", "--cacheinfo", "100644,"+oid+",blob")
	transfertest.Git(t, dir, "update-ref", "refs/heads/main", transfertest.Git(t, dir, "commit-tree", transfertest.Git(t, dir, "write-tree"), "-m", "blob"))
	transfertest.Must(t, os.RemoveAll(filepath.Join(dir, "objects", oid[:2], oid[2:])))
	for key, value := range map[string]string{
		"core.repositoryformatversion": "1", "extensions.partialClone": "x", "remote.x.promisor": "true",
		"remote.x.url": dir, "remote.x.uploadpack": "touch " + proof + "; false",
	} {
		transfertest.Git(t, dir, "config", key, value)
	}
	_, err := b.sync(t, b.place("r.git"))
	if err == nil {
		t.Error("what lacks an object was copied")
	}
	if _, err := os.Stat(proof); err == nil {
		t.Error("the source had its command run")
	}
}

// Listings of refs take memory: only some runs at a time may have large ones.
func TestLargeListingsTakeTurns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.git.small = 200
	dir := b.newSource(t, "large.git")
	b.newSource(t, "small.git")
	var script strings.Builder
	for i := range 20 {
		fmt.Fprintf(&script, "create refs/heads/%d refs/heads/main\n", i)
	}
	updateRefs(t, dir, script.String())
	b.mustSync(t, "large.git")
	transfertest.Commit(t, dir, "refs/heads/main", "two")
	b.mustSync(t, "large.git")
	transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: "large.git"}, nil, ""))
	if len(b.git.large) != 0 {
		t.Fatalf("%d places are taken", len(b.git.large))
	}
	for range largeAtOnce {
		b.git.large <- struct{}{}
	}
	b.mustSync(t, "small.git")
	transfertest.Commit(t, dir, "refs/heads/main", "three") // so that git lists it
	run, err := b.Begin(t.Context(), b.place("large.git"))
	transfertest.Must(t, err)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("no place was free"))
	defer cancel()
	_, err = run.Copy(ctx, nil)
	if err == nil || !strings.Contains(err.Error(), "no place was free") {
		t.Errorf("error is %v", err)
	}
	transfertest.Must(t, run.Close())
	<-b.git.large
	b.mustSync(t, "large.git")
}
