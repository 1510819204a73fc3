package httpreplica_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
	"casq/replica/httpreplica"
)

// TestTheTokenGoesOutBeforeTheBody, by whatever the handler begins with, and a
// trailer tells of what came after.
func TestTheTokenGoesOutBeforeTheBody(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	for name, begin := range map[string]func(http.ResponseWriter) error{
		"write":      func(w http.ResponseWriter) error { _, err := w.Write([]byte("x")); return err },
		"status":     func(w http.ResponseWriter) error { w.WriteHeader(http.StatusOK); return nil },
		"flush":      func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
		"Flusher":    func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil }, //nolint:errcheck // A panic fails the test.
		"copy":       func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader("x")); return err },
		"at the end": func(http.ResponseWriter) error { return nil },
		"early hint": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusEarlyHints); return nil },
	} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, body := range []string{"first", "second"} {
				if _, err := s.db.Exec(r.Context(), "UPDATE documents SET body = $1", body); err != nil {
					t.Error(err)
				}
				if name == "status" && body == "second" {
					break
				}
				if err := begin(w); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
		server := s.serve(t, httpreplica.Middleware{Header: "X-Position", Trailer: "X-Position-After"}, handler)
		answer, _ := send(t, server.Client(), http.MethodGet, server.URL)
		token, after := answer.Header.Get("X-Position"), answer.Trailer.Get("X-Position-After")
		if token == "" {
			t.Errorf("%s: no token", name)
		}
		early := name == "at the end" || name == "early hint"
		if after != "" && (after == token) != early {
			t.Errorf("%s: token %s, afterwards %s", name, token, after)
		}
		if after == "" && name != "status" && !early {
			t.Errorf("%s: no trailer", name)
		}
	}
}

func TestAHijackedConnectionIsTheHandlers(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	server := s.serve(t, httpreplica.Middleware{Header: "X-Position"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = buffer.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		_ = buffer.Flush()
	}))
	answer, body := send(t, server.Client(), http.MethodGet, server.URL)
	if body != "ok" || answer.Header.Get("X-Position") != "" {
		t.Errorf("answered %q with %v", body, answer.Header)
	}
}

// TestAPanicKeepsTheToken for whoever answers in the handler's stead.
func TestAPanicKeepsTheToken(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	broken := httpreplica.Middleware{DB: s.db, Header: "X-Position"}.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := s.db.Exec(r.Context(), "UPDATE documents SET body = 'x'"); err != nil {
			t.Error(err)
		}
		panic("broken")
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			_ = recover()
			w.WriteHeader(http.StatusInternalServerError)
		}()
		broken.ServeHTTP(w, r)
	}))
	defer server.Close()
	answer, _ := send(t, server.Client(), http.MethodGet, server.URL)
	if answer.StatusCode != http.StatusInternalServerError || answer.Header.Get("X-Position") == "" {
		t.Errorf("%d with %v", answer.StatusCode, answer.Header)
	}
}

// A handler reads and writes through the DB. The client sends back what it was given.
func ExampleMiddleware() {
	testdb.Example(func(t testing.TB) {
		db := replicatest.New(t, 1).Open(t, replica.Options{})
		notes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				_, err := db.Exec(r.Context(), "INSERT INTO documents VALUES ('a', 'hello')")
				if err != nil {
					panic(err)
				}
				return
			}
			var body string
			if err := db.QueryRow(r.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err != nil {
				panic(err)
			}
			fmt.Fprintln(w, body)
		})
		handler := httpreplica.Middleware{DB: db, Header: "X-Position"}.Wrap(notes)

		put := httptest.NewRecorder()
		handler.ServeHTTP(put, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", http.NoBody))
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		request.Header.Set("X-Position", put.Header().Get("X-Position"))
		get := httptest.NewRecorder()
		handler.ServeHTTP(get, request)
		fmt.Print(get.Body)
	})
	// Output: hello
}
