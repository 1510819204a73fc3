package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/internal/token"
	"casq/transfer"
	"casq/transfer/file"
	"casq/transfer/web"

	"golang.org/x/sys/unix"
)

const (
	oldSecret = "0123456789abcdef"
	newSecret = "fedcba9876543210"
)

// bundle is a server of a folder.
//
// mu guards counts.
type bundle struct {
	*Server
	dir  string
	http *httptest.Server

	mu     sync.Mutex
	counts map[Outcome]int
}

func setup(t *testing.T, change func(*Config)) *bundle {
	t.Helper()
	b := &bundle{dir: t.TempDir(), counts: map[Outcome]int{}}
	cfg := Config{
		Tokens: []token.Token{{Name: "old", Secret: oldSecret}, {Name: "new", Secret: newSecret}},
		Served: func(outcome Outcome, _ int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.counts[outcome]++
		},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	b.Server = New(cfg)
	source, err := file.OpenSource(b.dir, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	b.From(source)
	b.SetKinds([]Kind{{"upload", "uploads"}, {"avatar", "media/avatars"}})
	b.http = httptest.NewServer(b)
	t.Cleanup(func() {
		b.http.Close()
		transfertest.Must(t, source.Close())
	})
	return b
}

// ask sends a request with a token as it stands, and reads all of its answer.
func (b *bundle) ask(t *testing.T, method, path, secret string) (code int, headers http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.http.URL+path, http.NoBody)
	transfertest.Must(t, err)
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	response, err := b.http.Client().Transport.RoundTrip(r)
	transfertest.Must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	transfertest.Must(t, err)
	return response.StatusCode, response.Header, string(text)
}

// Only files of kinds are told of, and only to who has a token.
func TestWhatIsServed(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	transfertest.Write(t, b.dir, "uploads/a b/50%/#?", "hello")
	transfertest.Write(t, b.dir, "media/avatars/1", "face")
	transfertest.Write(t, b.dir, "conf/app.ini", "password")
	transfertest.Write(t, filepath.Dir(b.dir), "outside", "password")
	for link, to := range map[string]string{"link": "../conf/app.ini", "dir": "../conf", "out": "/etc"} {
		transfertest.Must(t, os.Symlink(to, filepath.Join(b.dir, "uploads", link)))
	}
	transfertest.Must(t, unix.Mkfifo(filepath.Join(b.dir, "uploads", "fifo"), 0o644))
	for path, want := range map[string]int{
		"/files/uploads/a%20b/50%25/%23%3F": 200, "/files/media/avatars/1": 200,
		"/files/uploads/none": 404, "/files/uploads/a%20b/50%25/%23%3F/x": 404, "/files/media/avatars/1/x": 404,
		"/files/": 204,
		// What is no kind's.
		"/files/conf/app.ini": 403, "/files/uploads": 403, "/files/uploadsx": 403, "/files/media/x": 403, "/files/media": 403,
		// What is no file, or leads elsewhere.
		"/files/uploads/a%20b": 403, "/files/uploads/link": 403, "/files/uploads/dir/app.ini": 403, "/files/uploads/out/passwd": 403, "/files/uploads/fifo": 403,
		// What is no path.
		"/files/uploads/../conf/app.ini": 400, "/files/uploads/%2e%2e/conf/app.ini": 400, "/files/uploads%2F..%2Fconf%2Fapp.ini": 400, "/files/../outside": 400,
		"/files//uploads/link": 400, "/files/uploads//x": 400, "/files/uploads/": 400, "/files/uploads/./x": 400, "/files/uploads/a%00": 400, "/files/uploads/a%0a": 400,
		"/files/uploads/%ff": 400, "/files/.casq/target": 400, "/files/uploads/" + strings.Repeat("x", 256): 400, "/files/uploads/x?y=z": 400,
		"/": 400, "/files": 400, "/metrics": 400, "/uploads/none": 400,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			code, _, body := b.ask(t, method, path, newSecret)
			if code != want || strings.Contains(body, "password") {
				t.Errorf("%s %s: %d %q, want %d", method, path, code, body, want)
			}
		}
		for _, secret := range []string{"", "0123456789abcde", oldSecret + newSecret, "new:" + newSecret} {
			if code, headers, body := b.ask(t, http.MethodGet, path, secret); code != 401 || headers.Get("WWW-Authenticate") != "Bearer" || strings.Contains(body, "hello") {
				t.Errorf("%s with token %q: %d %q", path, secret, code, body)
			}
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, "PROPFIND", "LIST"} {
		if code, _, _ := b.ask(t, method, "/files/media/avatars/1", oldSecret); code != 405 {
			t.Errorf("%s: %d", method, code)
		}
	}
	transfertest.WantContent(t, b.dir, "media/avatars/1", "face")
	_, headers, body := b.ask(t, http.MethodGet, "/files/media/avatars/1", oldSecret)
	if body != "face" || headers.Get("Content-Type") != "application/octet-stream" || headers.Get(web.ModeHeader) != "644" || headers.Get("Cache-Control") != "no-store" {
		t.Errorf("%q with %v", body, headers)
	}
}

// While it cannot be told what is there, nothing is missing.
func TestAFolderThatIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	transfertest.Write(t, b.dir, "uploads/a", "hello")
	wants := func(want int, paths ...string) {
		t.Helper()
		for _, path := range paths {
			if code, _, body := b.ask(t, http.MethodGet, path, newSecret); code != want {
				t.Errorf("%s: %d %q, want %d", path, code, body, want)
			}
		}
	}
	wants(200, "/files/uploads/a")
	moved := b.dir + ".moved"
	transfertest.Must(t, os.Rename(b.dir, moved))
	wants(503, "/files/uploads/a", "/files/uploads/none", "/files/")
	transfertest.Must(t, os.Rename(moved, b.dir))
	wants(200, "/files/uploads/a")

	starting := New(Config{Tokens: []token.Token{{Name: "new", Secret: newSecret}}, Logger: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/files/uploads/a", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+newSecret)
	w := httptest.NewRecorder()
	starting.ServeHTTP(w, r)
	if w.Code != 503 {
		t.Errorf("before its kinds are known: %d", w.Code)
	}
	b.SetKinds(nil)
	wants(403, "/files/uploads/a")
}

// A file without a resource is nobody's business; and what cannot be told is not missing.
func TestOnlyFilesOfResourcesAreServed(t *testing.T) {
	t.Parallel()
	var away error
	b := setup(t, func(cfg *Config) {
		cfg.Tracked = func(_ context.Context, kind, key string) (bool, error) { return kind == "upload" && key == "a", away }
	})
	b.SetKinds([]Kind{{"upload", "uploads"}, {"other", ""}})
	transfertest.Write(t, b.dir, "uploads/a", "hello")
	transfertest.Write(t, b.dir, "uploads/b", "password")
	for path, want := range map[string]int{"/files/uploads/a": 200, "/files/uploads/b": 404, "/files/a": 404, "/files/uploads/c": 404} {
		if code, _, _ := b.ask(t, http.MethodGet, path, newSecret); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	away = errors.New("no database")
	if code, _, _ := b.ask(t, http.MethodGet, "/files/uploads/b", newSecret); code != 503 {
		t.Errorf("what cannot be told: %d", code)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := map[Outcome]int{Sent: 1, Missing: 3, Away: 1}; !maps.Equal(b.counts, want) {
		t.Errorf("counted %v, want %v", b.counts, want)
	}
}

// Both sides together: what is interrupted goes on, and a file that is exchanged meanwhile
// is no other one's rest.
func TestARangeIsOfOneFile(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	content := strings.Repeat("0123456789abcdef", 1<<16)
	transfertest.Write(t, b.dir, "uploads/a", content)
	_, headers, _ := b.ask(t, http.MethodHead, "/files/uploads/a", newSecret)
	part := func() (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.http.URL+"/files/uploads/a", http.NoBody)
		transfertest.Must(t, err)
		r.Header = http.Header{"Authorization": {"Bearer " + newSecret}, "Range": {"bytes=1048570-"}, "If-Range": {headers.Get("ETag")}}
		response, err := b.http.Client().Do(r)
		transfertest.Must(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		transfertest.Must(t, err)
		return response.StatusCode, string(text)
	}
	if code, text := part(); code != 206 || text != "abcdef" {
		t.Errorf("%d with %d bytes", code, len(text))
	}
	transfertest.Must(t, os.Remove(filepath.Join(b.dir, "uploads", "a")))
	transfertest.Write(t, b.dir, "uploads/a", strings.ToUpper(content))
	if code, text := part(); code != 200 || len(text) != len(content) {
		t.Errorf("%d with %d bytes of another file", code, len(text))
	}
	source, err := web.OpenSource(web.Config{URL: b.http.URL + "/files", Token: oldSecret})
	transfertest.Must(t, err)
	target := t.TempDir()
	files, err := file.Open(file.Config{Source: source, Target: target})
	transfertest.Must(t, err)
	_, err = transfertest.Sync(t, files, transfer.Place{Key: "a", SourcePrefix: "uploads", Claim: transfertest.NewClaim()}, "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, target, "a", strings.ToUpper(content))
	_, err = transfertest.Sync(t, files, transfer.Place{Key: "link", SourcePrefix: "uploads", Claim: transfertest.NewClaim()}, "")
	transfertest.WantError(t, err, transfer.ErrMissing)
	transfertest.Must(t, files.Close())
}

// Who asks and takes nothing does not keep a connection.
func TestWhoTakesNothingIsLeft(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *Config) { cfg.Patience = 20 * time.Millisecond })
	transfertest.Write(t, b.dir, "uploads/a", strings.Repeat("x", 16<<20))
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.http.Listener.Addr().String())
	transfertest.Must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /files/uploads/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+newSecret+"\r\n\r\n")
	transfertest.Must(t, err)
	transfertest.Wait(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.counts[Sent] == 1
	})
	got, err := io.Copy(io.Discard, conn)
	if got >= 16<<20 {
		t.Errorf("all %d bytes came (%v)", got, err)
	}
}

// A request with a body is none of ours.
func TestARequestHasNoBody(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	transfertest.Write(t, b.dir, "uploads/a", "hello")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.http.URL+"/files/uploads/a", strings.NewReader("x"))
	transfertest.Must(t, err)
	r.Header.Set("Authorization", "Bearer "+newSecret)
	response, err := b.http.Client().Do(r)
	transfertest.Must(t, err)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("it was answered with %d", response.StatusCode)
	}
}
