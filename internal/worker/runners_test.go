package worker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/internal/testing/tlsproxy"

	"github.com/jackc/pgx/v5/pgxpool"
)

// runnerSite is a worker that does nothing but hand out builds.
type runnerSite struct {
	pool    *pgxpool.Pool
	client  *http.Client
	url     string
	entered chan struct{} // a request waits
	stop    func()        // SIGTERM, and the end
}

// addressOf passes on what is logged as the address for runners.
type addressOf struct {
	slog.Handler
	address chan string
}

func (l addressOf) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "runner_addr" {
			l.address <- a.Value.String()
		}
		return true
	})
	return l.Handler.Handle(ctx, r)
}

func newRunnerSite(t *testing.T, change ...func(*Config)) *runnerSite {
	t.Helper()
	db := testdb.New(t)
	s := &runnerSite{pool: db.Pool(t), client: &http.Client{}, entered: make(chan struct{}, 10)}
	address := make(chan string, 1)
	cfg := Config{
		HomeURL: workerURL(t, db), RunnerAddr: "127.0.0.1:0",
		Logger: slog.New(addressOf{slog.NewTextHandler(&testLog{t: t}, nil), address}),
		Hook: func(point string) {
			if point == "entered" {
				s.entered <- struct{}{}
			}
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	stopped := false
	s.stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-ended; err != nil {
				t.Errorf("worker: %v", err)
			}
		}
	}
	t.Cleanup(s.stop)
	select {
	case at := <-address:
		s.url = "http://" + at
	case err := <-ended:
		stopped = true
		t.Fatalf("the worker does not start: %v", err)
	}
	return s
}

// runner makes a runner, and returns its token.
func (s *runnerSite) runner(t *testing.T) (token string) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), "SELECT token FROM casq.create_runner('test')").Scan(&token); err != nil {
		t.Fatal(err)
	}
	return token
}

// reply is what a request for a build was answered with.
type reply struct {
	status int
	told   string
	body   []byte
}

// request asks for a build until the coordinator is there.
func (s *runnerSite) request(t *testing.T, token, told string) (reply, error) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": token, "system_id": "s_1", "last_update": told})
	if err != nil {
		return reply{}, err
	}
	for {
		r, err := s.post(t.Context(), body)
		if err != nil || r.status != http.StatusServiceUnavailable {
			return r, err
		}
	}
}

func (s *runnerSite) post(ctx context.Context, body []byte) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/v4/jobs/request", bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	answered, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header.Get("X-GitLab-Last-Update"), answered}, err
}

func TestAWorkerHandsOutBuilds(t *testing.T) {
	t.Parallel()
	s := newRunnerSite(t)
	token := s.runner(t)
	if _, err := s.pool.Exec(t.Context(), `SELECT casq.add_build(casq.begin_pipeline(7), 'one', '{"steps":[{"script":["true"]}]}')`); err != nil {
		t.Fatal(err)
	}
	r, err := s.request(t, token, "")
	if err != nil {
		t.Fatal(err)
	}
	var job struct{ ID int64 }
	if err := json.Unmarshal(r.body, &job); err != nil || r.status != http.StatusCreated || job.ID == 0 {
		t.Errorf("answered %d, build %d, %v", r.status, job.ID, err)
	}
}

// A request that waits when SIGTERM comes is answered at once, with what its runner had
// heard before.
func TestWhoWaitsIsAnsweredAtTheEnd(t *testing.T) {
	t.Parallel()
	s := newRunnerSite(t)
	token := s.runner(t)
	answered := make(chan reply, 1)
	go func() {
		r, err := s.request(t, token, "told-before")
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	<-s.entered
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > StopTimeout {
		t.Errorf("the worker took %v to stop", took)
	}
	if r := <-answered; r.status != http.StatusNoContent || r.told == "" {
		t.Errorf("answered %d with the last update %q", r.status, r.told)
	}
}

// Calls that are under way at the end have a moment: one that ends in it is answered, and
// one that does not keeps nobody.
func TestCallsUnderWayAtTheEnd(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newRunnerSite(t)
	token := s.runner(t)
	if r, err := s.request(t, "nobody's", ""); err != nil || r.status != http.StatusForbidden {
		t.Fatalf("a wrong token: %v, %v", r, err)
	}
	address, said := strings.TrimPrefix(s.url, "http://"), `{"token":"`+token+`"}`
	begin := func() (net.Conn, *bufio.Reader) {
		conn := dial(t, address)
		if _, err := fmt.Fprintf(conn, "POST /api/v4/runners/verify HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(said)); err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(conn)
		for line := "?"; line != "\r\n"; { // it wants the body
			var err error
			if line, err = answer.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return conn, answer
	}
	begin()
	conn, answer := begin()
	began, stopped := time.Now(), make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	for { // until nobody listens any more
		other, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			break
		}
		_ = other.Close()
	}
	if _, err := io.WriteString(conn, said); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal("the call that ended in time:", err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("the call that ended in time: %s", response.Status)
	}
	<-stopped
	if took := time.Since(began); took > StopTimeout {
		t.Errorf("the worker took %v to stop", took)
	}
}

// No time of a whole request ends one that waits.
func TestTheServerDoesNotLimitWaiting(t *testing.T) {
	t.Parallel()
	w := &worker{cfg: Config{RunnerAddr: "127.0.0.1:0"}, log: slog.New(slog.DiscardHandler)}
	if err := w.listenRunners(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer w.runners.close(t.Context())
	if s := w.runners.server; s.ReadTimeout != 0 || s.WriteTimeout != 0 || s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 {
		t.Errorf("whole requests are limited, or nothing is: %+v", s)
	}
}

func TestOneFileOfTwoIsRefused(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), Config{HomeURL: "postgres://localhost/x", RunnerAddr: "127.0.0.1:0", RunnerKey: "key", Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "only one") {
		t.Errorf("got %v", err)
	}
}

func TestRunnersMayComeOverTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := tlsproxy.KeyPair(t, t.TempDir(), 1)
	s := newRunnerSite(t, func(c *Config) { c.RunnerCertificate, c.RunnerKey = certFile, keyFile })
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	s.url = strings.Replace(s.url, "http:", "https:", 1)
	s.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer s.client.CloseIdleConnections()
	r, err := s.request(t, "wrong", "")
	if err != nil {
		t.Fatal(err)
	}
	if r.status != http.StatusForbidden {
		t.Errorf("answered %d", r.status)
	}
}
