package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
)

// addrLog is a log that is asked for the address that the server listens on.
type addrLog struct {
	slog.Handler
	addr string
}

func (l *addrLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "addr" {
			l.addr = a.Value.String()
		}
		return true
	})
	return nil
}

func (l *addrLog) Enabled(context.Context, slog.Level) bool { return true }

// listen serves /livez on a free port.
func listen(t *testing.T) (addr string) {
	t.Helper()
	log := &addrLog{Handler: slog.DiscardHandler}
	w := newWorker(Config{HTTPAddr: "127.0.0.1:0", Logger: slog.New(log)})
	stop, err := w.serveHTTP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return log.addr
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Whatever a client leaves unsaid, its connection does not stay.
func TestConnectionsThatSayNothingAreClosed(t *testing.T) {
	t.Parallel()
	addr := listen(t)
	for name, sent := range map[string]string{
		"nothing":       "",
		"half a header": "GET /livez HTTP/1.1\r\nHost: x\r\n",
		"no body":       "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"no next one":   "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, addr)
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// Those who open connections and say nothing hold a probe up, and do not keep it
// out; and the worker has no more of them than its limit.
func TestConnectionsAreLimited(t *testing.T) {
	long.Test(t)
	t.Parallel()
	addr := listen(t)
	for range httpConnections {
		dial(t, addr)
	}
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/livez", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("answered %s", response.Status)
	}
	if waited := time.Since(began); waited < httpReadTimeout/2 {
		t.Errorf("it did not wait for one of the %d others: answered after %v", httpConnections, waited)
	}
}

// However many ask, home is asked once.
func TestProbeIsShared(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	p := &probe{every: probeEvery, ask: func(context.Context) error {
		return fmt.Errorf("answer %d", asked.Add(1))
	}}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := p.answer(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "answer ") {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.at = time.Now().Add(-probeEvery)
	if err := p.answer(t.Context()); err == nil || err.Error() != "answer 2" {
		t.Errorf("an old answer counts: %v", err)
	}
}
