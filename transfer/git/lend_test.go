package git

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/transfertest"
)

// counted counts what is sent.
type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.sent.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// large commits what cannot be compressed to less than 256 KiB.
func large(t *testing.T, dir, ref string) {
	t.Helper()
	bytes := make([]byte, 1<<18)
	_, _ = rand.Read(bytes)
	work := t.TempDir()
	transfertest.Git(t, work, "clone", "--quiet", dir, work)
	transfertest.Must(t, os.WriteFile(filepath.Join(work, "large"), []byte(hex.EncodeToString(bytes)), 0o600))
	transfertest.Git(t, work, "add", "large")
	transfertest.Git(t, work, "commit", "--quiet", "-m", "large")
	transfertest.Git(t, work, "push", "--quiet", "origin", "HEAD:"+ref)
}

// A repository that was there before any run of ours gives the first clone what it has: only
// what differs comes from the source. Whatever else it is, it is not kept.
func TestARepositoryThatIsThereAlready(t *testing.T) {
	long.Test(t)
	t.Parallel()
	handler, root := httpSources(t)
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(counted{w, &sent}, r) }))
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir string)
		fresh bool // nothing of it is used
	}{
		"as it is":          {func(*testing.T, string) {}, false},
		"with hooks":        {func(t *testing.T, dir string) { transfertest.Write(t, dir, "hooks/post-update", "#!/bin/sh\nexit 1\n") }, false},
		"with a bad config": {func(t *testing.T, dir string) { transfertest.Write(t, dir, "config", "[core\n") }, true},
		"borrowing itself":  {func(t *testing.T, dir string) { transfertest.Write(t, dir, "objects/info/alternates", "/etc\n") }, true},
		"with a link": {func(t *testing.T, dir string) {
			transfertest.Must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "refs", "heads", "link")))
		}, true},
		"damaged": {func(t *testing.T, dir string) {
			transfertest.Must(t, os.RemoveAll(filepath.Join(dir, "objects")))
			transfertest.Must(t, os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o755))
		}, true},
	} {
		b := setup(t, func(c *Config) { c.SourceURL, c.AllowedProtocols = server.URL+"/git/{key}.git", []string{"http"} })
		b.source = root
		key := filepath.Base(t.TempDir()) + hex.EncodeToString([]byte(name))
		dir := b.newSource(t, key+".git")
		large(t, dir, "refs/large/old")
		transfertest.Git(t, b.target, "clone", "--quiet", "--mirror", dir, filepath.Join(b.target, key))
		transfertest.Commit(t, dir, "refs/heads/main", "what differs")
		test.spoil(t, filepath.Join(b.target, key))
		sent.Store(0)
		place := b.place(key)
		place.Adopt = true
		result, err := b.sync(t, place)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.wantSameHTTP(t, key)
		if fresh := sent.Load() > 1<<18; fresh != test.fresh || !fresh && !result.Partial {
			t.Errorf("%s: %d bytes came (%+v)", name, sent.Load(), result)
		}
		transfertest.WantAbsent(t, b.target, key+"/objects/info/alternates")
		transfertest.WantAbsent(t, b.target, key+"/hooks/post-update")
		transfertest.Must(t, b.VerifyInPlace(t.Context(), place, result.Checksum))
		// From then on it is a mirror like any other.
		transfertest.Commit(t, dir, "refs/heads/main", "next")
		_, err = b.sync(t, b.place(key))
		transfertest.Must(t, err)
		b.wantSameHTTP(t, key)
		transfertest.WantNoStaging(t, b.target)
	}
}

// So it is from a local source, by a git that may read nothing else.
func TestARepositoryThatIsThereAlreadyFromAFolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dir := b.newSource(t, "r")
	large(t, dir, "refs/large/old")
	transfertest.Git(t, b.target, "clone", "--quiet", "--mirror", dir, filepath.Join(b.target, "r"))
	transfertest.Commit(t, dir, "refs/heads/main", "what differs")
	place := b.place("r")
	place.Adopt = true
	result, err := b.sync(t, place)
	transfertest.Must(t, err)
	if !result.Partial {
		t.Error("nothing of what is in place was used")
	}
	b.wantSame(t, "r")
	transfertest.WantAbsent(t, b.target, "r/objects/info/alternates")
}
