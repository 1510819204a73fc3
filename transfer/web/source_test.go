package web

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/file"
)

const secret = "a-secret-of-the-site"

// server is one whose answers a test plays. Each request is noted.
//
// mu guards seen.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r)
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// requests are those that came.
func (s *server) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	source, err := OpenSource(cfg)
	transfertest.Must(t, err)
	source.pause = time.Millisecond
	t.Cleanup(func() { transfertest.Must(t, source.Close()) })
	return source
}

// copied copies a file by a run, as a worker does.
func copied(t *testing.T, source *Source, payload string) (string, error) {
	t.Helper()
	target := t.TempDir()
	files, err := file.Open(file.Config{Source: source, Target: target})
	transfertest.Must(t, err)
	_, err = transfertest.Sync(t, files, transfer.Place{Key: "a/k", Claim: transfertest.NewClaim()}, payload)
	transfertest.Must(t, files.Close())
	text, readErr := os.ReadFile(filepath.Join(target, "a", "k"))
	if err != nil {
		if readErr == nil {
			t.Errorf("%q is in place after %v", text, err)
		}
		return "", err
	}
	transfertest.Must(t, readErr)
	return string(text), nil
}

// content is what the servers have.
var content = strings.Repeat("0123456789abcdef", 100_000)

func payload(text string) string {
	return fmt.Sprintf(`{"size": %d, "sha256": "%x"}`, len(text), sha256.Sum256([]byte(text)))
}

// has answers as a server does that has a text, under an ETag.
func has(w http.ResponseWriter, r *http.Request, tag, text string) {
	w.Header().Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

// cut is a response that ends in the middle, after so many bytes of it.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestAFileOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(ModeHeader, "640")
		w.Header().Set(WrittenHeader, "1234567890123456789")
		has(w, r, `"1"`, content)
	})
	target := t.TempDir()
	files, err := file.Open(file.Config{Source: open(t, Config{URL: s.URL + "/files/", Token: secret}), Target: target})
	transfertest.Must(t, err)
	_, err = transfertest.Sync(t, files, transfer.Place{Key: "a b/50%/#?\u00fc", Claim: transfertest.NewClaim()}, "")
	transfertest.Must(t, err)
	transfertest.Must(t, files.Close())
	transfertest.WantContent(t, target, "a b/50%/#?\u00fc", content)
	info, err := os.Stat(target + "/a b/50%/#?\u00fc")
	transfertest.Must(t, err)
	// Its group is another one here, whose members were others there.
	if info.Mode() != 0o600 || info.ModTime().UnixNano() != 1234567890123456789 {
		t.Errorf("mode %v, written %v", info.Mode(), info.ModTime())
	}
	for _, r := range s.requests() {
		if r.URL.Path != "/files/a b/50%/#?\u00fc" || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "Bearer "+secret || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("asked for %q with %v", r.URL.Path, r.Header)
		}
	}
}

// A download that is interrupted again and again goes on each time from where it was.
func TestAnInterruptedDownloadGoesOn(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			has(w, r, `"1"`, content)
			return
		}
		has(&cut{w, 500_000}, r, `"1"`, content)
	})
	got, err := copied(t, open(t, Config{URL: s.URL}), "")
	transfertest.Must(t, err)
	if got != content {
		t.Errorf("%d bytes came, and not those", len(got))
	}
	var ranges []string
	for _, r := range s.requests() {
		if r.Method == http.MethodGet {
			ranges = append(ranges, r.Header.Get("Range"))
		}
	}
	if len(ranges) != 4 || ranges[0] != "" || ranges[1] != "bytes=500000-" || ranges[3] != "bytes=1500000-" {
		t.Errorf("asked for ranges %q", ranges)
	}
}

// What a server may answer to a request for the rest. first is whether it is the first one.
func TestTheRestIsOfTheSameFile(t *testing.T) {
	t.Parallel()
	other := strings.ToUpper(content)
	for name, test := range map[string]struct {
		rest    http.HandlerFunc
		payload string
		want    error // nil: it is copied
	}{
		"a server that ignores ranges": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			has(w, r, `"1"`, content)
		}, "", nil},
		"another ETag, by range": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			has(w, r, `"2"`, other)
		}, "", transfer.ErrChanged},
		"another ETag, by all of it": {func(w http.ResponseWriter, r *http.Request) { has(w, r, `"2"`, other) }, "", transfer.ErrChanged},
		"no ETag any more": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 500000-%d/%d", len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, content[500_000:])
		}, "", transfer.ErrChanged},
		"the same ETag of other bytes": {func(w http.ResponseWriter, r *http.Request) { has(w, r, `"1"`, other) }, payload(content), transfer.ErrChanged},
		"another range": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=400000-")
			has(w, r, `"1"`, content)
		}, "", transfer.ErrChanged},
		"a longer rest": {func(w http.ResponseWriter, r *http.Request) { has(w, r, `"1"`, content+content) }, "", transfer.ErrChanged},
		"more than its range says": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 500000-%d/%d", len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, content)
		}, "", transfer.ErrChanged},
		"a shorter file": {func(w http.ResponseWriter, r *http.Request) { has(w, r, `"1"`, content[:1000]) }, "", transfer.ErrChanged},
		"it is gone":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "", transfer.ErrChanged},
		"nothing more":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", transfer.ErrAway},
		"it is away":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "", transfer.ErrAway},
		"an error":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "", transfertest.ErrAny},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				first := r.Method == http.MethodHead
				once.Do(func() { w, first = &cut{w, 500_000}, true })
				if first {
					has(w, r, `"1"`, content)
					return
				}
				test.rest(w, r)
			})
			got, err := copied(t, open(t, Config{URL: s.URL}), test.payload)
			transfertest.WantVerdict(t, err, test.want, "")
			if err == nil && got != content {
				t.Errorf("%d bytes came, and not those", len(got))
			}
		})
	}
}

// What a server may answer that is not the file.
func TestWhatIsNotTheFile(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>Please sign in.</p>", 100)
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		payload string
		want    error
		says    string
	}{
		"not there": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(SourceHeader, "1")
			w.WriteHeader(http.StatusNotFound)
		}, "", transfer.ErrMissing, "404"},
		"a wrong token":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "", transfer.ErrAway, "token"},
		"forbidden":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "", transfertest.ErrAny, "403"},
		"its folder away": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "", transfer.ErrAway, "503"},
		"a proxy's error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "", transfer.ErrAway, "502"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://u:p@elsewhere.example.org/x", http.StatusFound)
		}, "", transfertest.ErrAny, `leads to "https://***@elsewhere.example.org/x"`},
		"a page with 200, where the sum is known": {func(w http.ResponseWriter, r *http.Request) { has(w, r, "", page) },
			fmt.Sprintf(`{"sha256": "%x"}`, sha256.Sum256([]byte(content))), transfer.ErrChanged, "SHA-256"},
		"a page with 200, where the size is known": {func(w http.ResponseWriter, r *http.Request) { has(w, r, "", page) },
			`{"size": 7}`, transfer.ErrChanged, "7 expected"},
		"a page with 200, where nothing is known": {func(w http.ResponseWriter, r *http.Request) { has(w, r, "", page) },
			"", transfer.ErrChanged, "no strong ETag"},
		"a weak ETag": {func(w http.ResponseWriter, r *http.Request) { has(w, r, `W/"1"`, content) }, "", transfer.ErrChanged, "no strong ETag"},
		"no length": {func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, page)
		}, "", transfertest.ErrAny, "Content-Length"},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			has(w, r, `"1"`, content)
		}, payload(content), transfertest.ErrAny, "gzip"},
		"a part": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=5-")
			has(w, r, `"1"`, content)
		}, "", transfertest.ErrAny, "206"},
		"another one afterwards": {func(w http.ResponseWriter, r *http.Request) {
			has(w, r, `"`+r.Method+`"`, content)
		}, "", transfer.ErrChanged, "replaced"},
		"none afterwards": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			has(w, r, `"1"`, content)
		}, "", transfer.ErrChanged, "vanished"},
		"interrupted, without an ETag": {func(w http.ResponseWriter, r *http.Request) {
			has(&cut{w, 500_000}, r, "", content)
		}, payload(content), transfer.ErrAway, "interrupted after 500000 of 1600000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.answer)
			_, err := copied(t, open(t, Config{URL: s.URL, Token: secret}), test.payload)
			transfertest.WantVerdict(t, err, test.want, test.says)
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("it is said that %v", err)
			}
		})
	}
}

// A token is for the server that was named, whatever that one says.
func TestTheTokenIsToldNobodyElse(t *testing.T) {
	t.Parallel()
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { has(w, r, `"1"`, content) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/a/k", http.StatusTemporaryRedirect)
	})
	source := open(t, Config{URL: s.URL, Token: secret})
	_, err := copied(t, source, payload(content))
	transfertest.WantVerdict(t, err, transfertest.ErrAny, "leads to")
	transfertest.Must(t, source.Check())
	if got := other.requests(); len(got) != 0 {
		t.Errorf("it was asked for %v", got)
	}
}

// A server that says nothing any more is asked again, and in the end given up.
func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	var once sync.Once
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hangs := false
		once.Do(func() { hangs = true })
		if !hangs {
			has(w, r, `"1"`, content)
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = io.WriteString(w, content[:1000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	got, err := copied(t, open(t, Config{URL: s.URL, Patience: 50 * time.Millisecond}), payload(content))
	transfertest.Must(t, err)
	if got != content {
		t.Errorf("%d bytes came, and not those", len(got))
	}

	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err = copied(t, open(t, Config{URL: silent.URL, Patience: 50 * time.Millisecond}), "")
	transfertest.WantError(t, err, transfer.ErrAway)
	silent.CloseClientConnections()
}

// A server that is not there is away, and no file is missing by that.
func TestAServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	s.Close()
	source := open(t, Config{URL: s.URL})
	_, err := copied(t, source, "")
	transfertest.WantError(t, err, transfer.ErrAway)
	transfertest.WantError(t, source.Check(), transfer.ErrAway)
}

// The server's certificate has to be signed by who was named.
func TestAnAuthorityOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { has(w, r, `"1"`, content) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	transfertest.Must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	got, err := copied(t, open(t, Config{URL: s.URL, CAFile: authority}), "")
	transfertest.Must(t, err)
	if got != content {
		t.Errorf("%d bytes came, and not those", len(got))
	}
	_, err = copied(t, open(t, Config{URL: s.URL}), "")
	transfertest.WantVerdict(t, err, transfer.ErrAway, "certificate")
	for file, says := range map[string]string{authority + ".none": "no such file", os.Args[0]: "no certificate"} {
		_, err := OpenSource(Config{URL: s.URL, CAFile: file})
		transfertest.WantVerdict(t, err, transfertest.ErrAny, says)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, says := range map[string]string{
		"https://example.org/files": "", "https://example.org": "", "http://127.0.0.1:8093/files/": "", "http://localhost:8093": "", "http://[::1]:1/x": "",
		"http://example.org/files": "https://", "http://127.0.0.1.example.org/": "https://", "https://u:p4ss@example.org/": "user", "https:///files": "no host",
		"https://example.org/?token=s3cret": "query", "https://example.org/#x": "fragment", "https://exa mple/": "not a URL",
	} {
		source, err := OpenSource(Config{URL: address})
		switch {
		case says == "":
			transfertest.Must(t, err)
			transfertest.Must(t, source.Close())
		case err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "p4ss") || strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: %v, want %q", address, err, says)
		}
	}
	if _, err := OpenSource(Config{URL: "https://example.org", Token: "two words of a secret"}); err == nil || strings.Contains(err.Error(), "two words") {
		t.Errorf("a token that is none: %v", err)
	}
	for _, key := range []string{"../a", "a//b", "/a", "", "a/../b", "a\nb"} {
		_, err := open(t, Config{URL: "http://127.0.0.1:1"}).Open(t.Context(), key)
		transfertest.WantError(t, err, transfer.ErrBadPlace)
	}
}
