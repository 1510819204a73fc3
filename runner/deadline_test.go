package runner

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whoever waits is not ended by the time that the body had to arrive, and of a file only
// pieces have one.
func TestDeadlinesOfBodies(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]bool{
		"/api/v4/jobs/request":     {true, false},
		"/api/v4/jobs/1/artifacts": {true, true, true, false},
	} {
		var set []bool
		b := &body{ReadCloser: io.NopCloser(strings.NewReader("x")), deadline: func(at time.Time) error {
			set = append(set, !at.IsZero())
			return nil
		}, file: strings.HasSuffix(path, "/artifacts")}
		b.limit()
		if _, err := io.ReadAll(b); err != nil {
			t.Fatal(err)
		}
		if len(set) != len(want) || set[len(set)-1] {
			t.Errorf("%s: deadlines %v, want %v", path, set, want)
		}
	}
}

// A request whose client goes away is ended, also after its body.
func TestAClientThatGoesAwayIsNoticed(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limitBody(w, r, time.Minute)
		_, _ = io.Copy(io.Discard, r.Body)
		r2 := &response{w}
		r2.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(r2).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "POST /api/v4/jobs/request HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	<-gone
}
