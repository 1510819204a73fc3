package alerttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/metrics"
	"casq/internal/testing/await"
	"casq/internal/testing/testdb"
	"casq/internal/worker"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

func TestMain(m *testing.M) { testdb.Main(m) }

const patience = 30 * time.Second

// site is a worker that copies the files of a tracked table; and an observer, which is what
// a second worker would tell of the database.
type site struct {
	t        *testing.T
	pool     *pgxpool.Pool
	source   string
	target   string
	addr     string
	stop     func() // the worker
	observer *metrics.Metrics
	failed   float64 // samples that the observer could not take, as on a machine that is busy
	disks    map[string]string
}

// start starts a site on a migrated database.
func start(t *testing.T, url string, change ...func(*worker.Config)) *site {
	t.Helper()
	s := &site{t: t, pool: testdb.Pool(t, url), source: t.TempDir(), target: filepath.Join(t.TempDir(), "target"), observer: metrics.New()}
	if err := os.Mkdir(s.target, 0o755); err != nil {
		t.Fatal(err)
	}
	s.disks = map[string]string{"file": s.target}
	s.exec("CREATE TABLE public.files (path text PRIMARY KEY, size bigint NOT NULL, sha256 text NOT NULL, project_id bigint NOT NULL)")
	s.exec(`SELECT casq.track('public.files', kind => 'file', transfer => 'file', key_column => 'path', size_column => 'size',
		scope_column => 'project_id', payload_columns => ARRAY['sha256'], prefix => '')`)
	log := listening{slog.DiscardHandler, make(chan string, 1)}
	cfg := worker.Config{
		HomeURL: url, ArtifactSource: s.source, ArtifactTarget: s.target, HTTPAddr: "127.0.0.1:0", Logger: slog.New(log),
		CursorWait: 100 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx, cfg) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	t.Cleanup(s.stop)
	s.addr = await.Value(t, patience, "the worker's address", log.addr)
	s.until("SELECT EXISTS (SELECT FROM casq.processes) AND EXISTS (SELECT FROM casq.cursors WHERE backend_pid IS NOT NULL)")
	s.until("SELECT NOT EXISTS (SELECT FROM casq.health() WHERE severity = 'critical')")
	return s
}

// listening is a log that sends the address that the worker answers scrapes at.
type listening struct {
	slog.Handler
	addr chan string
}

// Enabled implements [slog.Handler].
func (listening) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (l listening) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "listening" && a.Key == "addr" {
			l.addr <- a.Value.String()
		}
		return true
	})
	return nil
}

func (s *site) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func (s *site) until(query string) {
	s.t.Helper()
	await.Row(s.t, patience, s.pool, query)
}

// put makes a file and its row, as an application does. What the row says of its content is
// not so if it is to be bad.
func (s *site) put(path, content string, bad bool) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.source, path), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	if bad {
		sum[0]++
	}
	s.exec("INSERT INTO public.files VALUES ($1, $2, $3, 1)", path, len(content), hex.EncodeToString(sum[:]))
}

// scrape scrapes the worker.
func (s *site) scrape() scraped {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/metrics", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		s.t.Fatal(err)
	}
	return parse(s.t, &body, "worker")
}

// observe is what another worker tells that samples the database right now.
func (s *site) observe() scraped {
	s.t.Helper()
	var all scraped
	await.True(s.t, patience, "each sample is taken", func() bool {
		s.observer.SampleOnce(s.t.Context(), s.pool, s.disks, slog.New(slog.DiscardHandler))
		before := s.failed
		all, s.failed = gather(s.t, s.observer), 0
		for _, p := range all {
			if p.name() == "casq_metrics_queries_total" && p.lset.Get("outcome") == "failed" {
				s.failed += p.value
			}
		}
		return s.failed == before
	})
	return all
}

func gather(t *testing.T, m *metrics.Metrics) scraped {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	return parse(t, recorder.Body, "observer")
}

// both scrapes the worker and the observer. What the worker has sampled, which may be a
// quarter of a minute old, is told by the observer.
func (s *site) both() scraped {
	s.t.Helper()
	all := s.observe()
	sampled := make(map[string]bool)
	for _, p := range all {
		sampled[p.name()] = true
	}
	for key, p := range s.scrape() {
		if !sampled[p.name()] || strings.HasSuffix(p.name(), "_total") || strings.HasPrefix(p.name(), "casq_metrics_") {
			all[key] = p
		}
	}
	return all
}

// parse reads what is told in Prometheus' format. Histograms are left out: no alert goes by
// them.
func parse(t *testing.T, body *bytes.Buffer, instance string) scraped {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		t.Fatal(err)
	}
	all := make(scraped)
	for name, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetHistogram() != nil || m.GetSummary() != nil {
				continue
			}
			lset := labels.NewBuilder(labels.FromStrings(model.MetricNameLabel, name, "instance", instance, "job", "casq"))
			for _, l := range m.GetLabel() {
				lset.Set(l.GetName(), l.GetValue())
			}
			series := lset.Labels()
			all[series.String()] = point{series, m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()}
		}
	}
	return all
}
