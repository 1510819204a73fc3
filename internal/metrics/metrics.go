package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is what one process tells of itself, and of its home.
type Metrics struct {
	registry  *prometheus.Registry
	counters  map[string]*prometheus.CounterVec
	durations map[string]prometheus.ObserverVec
	samples   *samples
	now       *now
}

// durationBuckets are from what a no-op takes to what a large repository takes.
var durationBuckets = []float64{.005, .02, .1, .5, 2, 10, 60, 300, 1800, 7200}

// New returns metrics without values.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), counters: make(map[string]*prometheus.CounterVec),
		durations: make(map[string]prometheus.ObserverVec), samples: newSamples(),
	}
	m.now = &now{families: constants(present), samples: m.samples}
	for _, f := range counted {
		if f.Type == histogram {
			vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: f.Name, Help: f.Help, Buckets: durationBuckets}, f.Labels)
			m.durations[f.Name] = vec
			m.registry.MustRegister(vec)
			continue
		}
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.Name, Help: f.Help}, f.Labels)
		m.counters[f.Name] = vec
		m.registry.MustRegister(vec)
	}
	m.registry.MustRegister(m.samples, m.now, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Add adds to a family that this process counts.
func (m *Metrics) Add(family string, n float64, labels ...string) {
	m.counters[family].WithLabelValues(labels...).Add(n)
}

// Observe adds a duration to a family of durations.
func (m *Metrics) Observe(family string, d time.Duration, labels ...string) {
	m.durations[family].WithLabelValues(labels...).Observe(d.Seconds())
}

// A storm of scrapes is answered with 503 beyond mostScrapes at once. The answer is made in
// memory before any of it is sent: a client that reads slowly keeps nobody else out.
const (
	mostScrapes   = 4
	scrapeTimeout = 5 * time.Second
)

// Handler answers scrapes from memory.
func (m *Metrics) Handler() http.Handler {
	h := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: mostScrapes, EnableOpenMetrics: true,
	})
	return http.TimeoutHandler(h, scrapeTimeout, "the metrics were not gathered in time\n")
}
