package runner_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"casq/internal/pause"
	"casq/runner"
	"casq/runner/filestore"
)

// A client that sends its body a byte at a time is answered when its time is over, and its
// connection is closed: what it has is another's.
func TestASlowClientIsEnded(t *testing.T) {
	t.Parallel()
	store, err := filestore.OpenFolder(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	b := newBench(t, runner.Options{BodyWithin: 300 * time.Millisecond, Artifacts: store})
	id := b.enqueue()
	a := b.request(b.runner(), "")
	form := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\n"
	for name, call := range map[string]struct{ method, path, header, start string }{
		"log":      {"PATCH", fmt.Sprintf("/api/v4/jobs/%d/trace", id), "Content-Range: 0-99999\r\nContent-Type: text/plain", ""},
		"artifact": {"POST", fmt.Sprintf("/api/v4/jobs/%d/artifacts", id), "Content-Type: multipart/form-data; boundary=x", form},
		"request":  {"POST", "/api/v4/jobs/request", "Content-Type: application/json", "{"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left, closed := make(chan struct{}, 1), make(chan struct{}, 1)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { left <- struct{}{} }()
				b.c.ServeHTTP(w, r)
			}))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					closed <- struct{}{}
				}
			}
			server.Start()
			t.Cleanup(server.Close)
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			must(t, err)
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nJob-Token: %s\r\n%s\r\nContent-Length: 100000\r\n\r\n%s", call.method, call.path, a.Token(), call.header, call.start)
			must(t, err)
			go func() { // until it is closed
				for err := error(nil); err == nil; _, err = io.WriteString(conn, "x") {
					if pause.For(t.Context(), 20*time.Millisecond) != nil {
						return
					}
				}
			}()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(line, "400") {
				t.Errorf("answered with %q, %v", line, err)
			}
			<-left
			<-closed
		})
	}
}
