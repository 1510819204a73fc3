package worker

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// addrs is a log that sends the address that the server listens on.
type addrs struct {
	slog.Handler
	addr chan string
}

func (l addrs) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "listening" && a.Key == "addr" {
			l.addr <- a.Value.String()
		}
		return true
	})
	return nil
}

func (addrs) Enabled(context.Context, slog.Level) bool { return true }

// serving has a worker answer HTTP, and returns where.
func serving(cfg *Config) <-chan string {
	addr := make(chan string, 1)
	cfg.HTTPAddr, cfg.Logger = "127.0.0.1:0", slog.New(addrs{slog.DiscardHandler, addr})
	return addr
}

// scrape returns the values that /metrics tells.
func scrape(t *testing.T, addr string) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	values := make(map[string]float64)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		series, text, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			values[series] = n
		}
	}
	if err := lines.Err(); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("answered %s, %v", response.Status, err)
	}
	return values
}

func TestMetricsTellWhatWasDone(t *testing.T) {
	long.Test(t)
	t.Parallel()
	var listening <-chan string
	b := setup(t, func(cfg *Config) { listening = serving(cfg) })
	addr := await.Value(t, 30*time.Second, "the address", listening)
	b.put(t, "a", "12345")
	b.put(t, "b", "1234567")
	until(t, "both are in place", func() bool { return b.count(t, "synced_version = version") == 2 })
	b.exec(t, "DELETE FROM public.artifacts WHERE path = 'b'")
	until(t, "one was removed", func() bool { return b.count(t, "synced_version = version AND deleted_at IS NOT NULL") == 1 })
	var values map[string]float64
	until(t, "the last job is counted", func() bool {
		values = scrape(t, addr)
		return values[`casq_jobs_worked_total{job="casq_remove",outcome="completed",queue="artifact"}`] == 1
	})
	for series, want := range map[string]float64{
		`casq_claims_total{kind="artifact"}`:                                           3,
		`casq_runs_total{kind="artifact",outcome="synced"}`:                            3,
		`casq_copied_bytes_total{kind="artifact"}`:                                     12,
		`casq_events_applied_total{kind="artifact",op="created"}`:                      2,
		`casq_events_applied_total{kind="artifact",op="deleted"}`:                      1,
		`casq_jobs_inserted_total{job="casq_sync",queue="artifact"}`:                   2,
		`casq_jobs_worked_total{job="casq_sync",outcome="completed",queue="artifact"}`: 2,
		`casq_job_duration_seconds_count{job="casq_sync"}`:                             2,
		`casq_jobs_fetched_total{queue="artifact"}`:                                    3,
		`casq_pool_max_connections{pool="home"}`:                                       24,
		`casq_role_ready{role="sync"}`:                                                 1,
		`casq_metrics_queries_total{outcome="ok",sample="queue"}`:                      1,
	} {
		if got := values[series]; got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	for _, series := range []string{
		`casq_queue_jobs{queue="artifact",state="available"}`, `casq_target_free_bytes{transfer="file"}`,
		`casq_metrics_sample_age_seconds{sample="registry"}`, `casq_job_fetch_seconds_total{queue="artifact"}`,
	} {
		if _, told := values[series]; !told {
			t.Errorf("%s is not told", series)
		}
	}
	if len(values) > 2000 {
		t.Errorf("one kind has %d series", len(values))
	}
}

// A server that is frozen answers nobody, and a scrape does not ask it.
func TestMetricsAreToldWhileHomeIsFrozen(t *testing.T) {
	long.Test(t)
	t.Parallel()
	c := testdb.NewCluster(t)
	var cfg Config
	listening := serving(&cfg)
	cfg.HomeURL = c.URL()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	addr := await.Value(t, 30*time.Second, "the address", listening)
	const sampled = `casq_builds{state="waiting"}`
	until(t, "home was sampled", func() bool { _, told := scrape(t, addr)[sampled]; return told })
	if err := c.Primary.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Primary.Thaw(); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	values := scrape(t, addr)
	t.Logf("answered in %v", time.Since(began))
	if _, told := values[sampled]; !told {
		t.Error("what was sampled is not told any more")
	}
	if _, told := values[`casq_metrics_sample_age_seconds{sample="builds"}`]; !told {
		t.Error("nobody is told how old it is")
	}
}
