package s3test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Server is one S3 server with one bucket.
//
// mu guards the rest.
type Server struct {
	t       testing.TB
	http    *httptest.Server
	backend *s3mem.Backend
	s3      http.Handler

	mu     sync.Mutex
	refuse bool
	late   func(r *http.Request) bool
	held   chan *Write
	copies func(from, to string) error
	asked  map[string]int
}

// ErrLost is a fault of a copy: it is made, and the answer does not arrive.
var ErrLost = errors.New("the answer is lost")

// Copies has f called before each copy that the server makes by itself, from now on: with
// [ErrLost], or another error, which is the server's answer.
func (s *Server) Copies(f func(from, to string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copies = f
}

// Asked are how many requests there were since the last call: "PUT" of bytes, "COPY",
// "LIST", and by their methods all others.
func (s *Server) Asked() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// count is called with mu held.
func (s *Server) count(r *http.Request) {
	what := r.Method
	switch {
	case r.Header.Get("X-Amz-Copy-Source") != "":
		what = "COPY"
	case what == http.MethodGet && r.URL.Query().Has("list-type"):
		what = "LIST"
	}
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	if what != http.MethodPut || r.ContentLength > 0 {
		s.asked[what]++
	}
}

// Bucket is the bucket that every server has.
const Bucket = "second"

// New starts a server, which ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, backend: s3mem.New(), held: make(chan *Write, 1)}
	s.s3 = gofakes3.New(s.backend).Server()
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// URL is the bucket's, for gocloud.dev/blob; with what is below a prefix alone,
// unless that is "".
func (s *Server) URL(prefix string) string { return s.BucketURL(Bucket, prefix) }

// BucketURL is that of another bucket, which is not there.
func (s *Server) BucketURL(bucket, prefix string) string {
	query := url.Values{
		"endpoint": {s.http.URL}, "region": {"us-east-1"}, "use_path_style": {"true"}, "anonymous": {"true"},
		"request_checksum_calculation": {"when_required"}, "response_checksum_validation": {"when_required"},
	}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	return "s3://" + bucket + "?" + query.Encode()
}

// Stop ends the server before the test ends.
func (s *Server) Stop() { s.http.Close() }

// Refuse has all requests refused from now on, or not.
func (s *Server) Refuse(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = yes
}

// Put stores an object, behind everybody's back.
func (s *Server) Put(key, content string) {
	s.t.Helper()
	_, err := s.backend.PutObject(Bucket, key, map[string]string{}, strings.NewReader(content), int64(len(content)), nil)
	if err != nil {
		s.t.Fatal(err)
	}
}

// Delete deletes an object, likewise.
func (s *Server) Delete(key string) {
	s.t.Helper()
	if _, err := s.backend.DeleteObject(Bucket, key); err != nil {
		s.t.Fatal(err)
	}
}

// Objects are all that there are, by key.
func (s *Server) Objects() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	list, err := s.backend.ListBucket(Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range list.Contents {
		if content, there := s.read(entry.Key); there {
			found[entry.Key] = content
		}
	}
	return found
}

func (s *Server) read(key string) (string, bool) {
	object, err := s.backend.GetObject(Bucket, key, nil)
	if err != nil {
		return "", false // deleted meanwhile
	}
	defer object.Contents.Close()
	content, err := io.ReadAll(object.Contents)
	if err != nil {
		s.t.Error(err)
	}
	return string(content), true
}

// Write is a write to the place that the server has taken on, and not yet
// carried out.
type Write struct {
	server  *Server
	key     string
	content string
	removal bool
}

// Key is what it writes to.
func (w *Write) Key() string { return w.key }

// Land carries it out.
func (w *Write) Land() {
	if w.removal {
		w.server.Delete(w.key)
		return
	}
	w.server.Put(w.key, w.content)
}

// HoldNext takes on the next copy or deletion of key, whose bytes the server
// has read by then, and never answers it. It is given when it was taken on.
func (s *Server) HoldNext(key string) <-chan *Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = func(r *http.Request) bool {
		write := r.Method == http.MethodDelete || r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != ""
		return write && r.URL.Path == "/"+Bucket+"/"+key
	}
	return s.held
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refuse, late := s.refuse, s.late != nil && s.late(r)
	if late {
		s.late = nil
	}
	s.count(r)
	copies := s.copies
	s.mu.Unlock()
	switch {
	case refuse:
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
	case late:
		s.hold(r)
	case r.Header.Get("X-Amz-Copy-Source") != "":
		s.copy(w, r, copies)
	default:
		s.s3.ServeHTTP(w, r)
	}
}

// copy is what gofakes3 does not do: it compares the source's ETag, where that is asked for.
func (s *Server) copy(w http.ResponseWriter, r *http.Request, fault func(from, to string) error) {
	from, to := s.copySource(r), strings.TrimPrefix(r.URL.Path, "/"+Bucket+"/")
	var err error
	if fault != nil {
		err = fault(from, to)
	}
	switch {
	case errors.Is(err, ErrLost):
		s.s3.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `<Error><Code>InvalidRequest</Code><Message>%s</Message></Error>`, err)
		return
	}
	if want := r.Header.Get("X-Amz-Copy-Source-If-Match"); want != "" {
		if object, err := s.backend.HeadObject(Bucket, from); err == nil && want != fmt.Sprintf("%q", hex.EncodeToString(object.Hash)) {
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, `<Error><Code>PreconditionFailed</Code><Message>x-amz-copy-source-If-Match</Message></Error>`)
			return
		}
	}
	s.s3.ServeHTTP(w, r)
}

func (s *Server) copySource(r *http.Request) string {
	from, err := url.QueryUnescape(r.Header.Get("X-Amz-Copy-Source"))
	if err != nil {
		s.t.Error(err)
	}
	return strings.TrimPrefix(strings.TrimPrefix(from, "/"), Bucket+"/")
}

// hold reads what is to be copied, and waits until the client has gone.
func (s *Server) hold(r *http.Request) {
	write := &Write{server: s, key: strings.TrimPrefix(r.URL.Path, "/"+Bucket+"/"), removal: r.Method == http.MethodDelete}
	if !write.removal {
		write.content, _ = s.read(s.copySource(r))
	}
	// Read to its end, so that the server notices when the client goes.
	_, _ = io.Copy(io.Discard, r.Body)
	s.held <- write
	<-r.Context().Done()
}

// Keys are those of all objects, in order.
func (s *Server) Keys() []string {
	var keys []string
	for key := range s.Objects() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
