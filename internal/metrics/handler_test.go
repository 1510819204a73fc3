package metrics

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/await"

	"github.com/prometheus/client_golang/prometheus"
)

// slow is a collector that collects when it is told to.
type slow struct{ entered, goOn chan struct{} }

func (slow) Describe(chan<- *prometheus.Desc) {}

func (s slow) Collect(chan<- prometheus.Metric) {
	s.entered <- struct{}{}
	<-s.goOn
}

func request(t *testing.T) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
}

func TestStormOfScrapesIsRefused(t *testing.T) {
	t.Parallel()
	m := New()
	s := slow{make(chan struct{}), make(chan struct{})}
	m.registry.MustRegister(s)
	h := m.Handler()
	var group sync.WaitGroup
	codes := make(chan int, mostScrapes)
	for range mostScrapes {
		group.Go(func() {
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, request(t))
			codes <- recorder.Code
		})
		await.Value(t, 30*time.Second, "a scrape that gathers", s.entered)
	}
	for range 3 {
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, request(t))
		if recorder.Code != http.StatusServiceUnavailable {
			t.Errorf("one more was answered with %d", recorder.Code)
		}
	}
	close(s.goOn)
	group.Wait()
	for range mostScrapes {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of the first was answered with %d", code)
		}
	}
}

// stuck is a client that does not read.
type stuck struct {
	http.ResponseWriter
	entered, goOn chan struct{}
}

func (s stuck) Write([]byte) (int, error) {
	s.entered <- struct{}{}
	<-s.goOn
	return 0, http.ErrHandlerTimeout
}

func TestClientsThatDoNotReadKeepNobodyOut(t *testing.T) {
	t.Parallel()
	m := New()
	h := m.Handler()
	s := stuck{nil, make(chan struct{}), make(chan struct{})}
	var group sync.WaitGroup
	for range mostScrapes + 1 {
		group.Go(func() {
			one := s
			one.ResponseWriter = httptest.NewRecorder()
			h.ServeHTTP(one, request(t))
		})
		await.Value(t, 30*time.Second, "an answer that is being sent", s.entered)
	}
	scrape(t, m)
	close(s.goOn)
	group.Wait()
}
