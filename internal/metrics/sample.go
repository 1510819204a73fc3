package metrics

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

//go:embed sample.sql
var sampleText string

// sampleSQL has the statements of sample.sql.
var sampleSQL = queries.Parse[struct {
	Registry, Queue, Log, Cursors, Lag, Health, Counters, Reconcile, Dead, Views, Processes, Builds, Postgres string
}]("metrics/sample", sampleText)

const (
	// sampleEvery is between two rounds, if they are quick.
	sampleEvery = 15 * time.Second
	// restFactor bounds what monitoring costs a database that is slow: a round is followed
	// by a pause of so many times what it took.
	restFactor = 50
	// mostRest is the longest such pause. What a round took may be what it waited: a lock,
	// or a server that is away, must not keep what comes after it from being seen.
	mostRest = time.Minute
	// staleAfter is how old a sample is told at most: two rounds of a database that is slow.
	staleAfter = 3 * time.Minute
	// queryTimeout is of one statement.
	queryTimeout = 5 * time.Second
	// mostCounted is how many rows are counted where no count is kept.
	mostCounted = 10_000
	// mostSeries is how many series one sample may have of one family: whoever defines
	// thousands of kinds is told of so many.
	mostSeries = 2000
)

// sample is one that is taken at once.
type sample struct {
	name, sql string
	args      []any
}

// list are the samples of home's database.
func list() []sample {
	limit := []any{mostCounted}
	return []sample{
		{"registry", sampleSQL.Registry, nil}, {"queue", sampleSQL.Queue, limit}, {"log", sampleSQL.Log, nil},
		{"cursors", sampleSQL.Cursors, nil}, {"lag", sampleSQL.Lag, nil}, {"health", sampleSQL.Health, nil}, {"counters", sampleSQL.Counters, limit}, {"reconcile", sampleSQL.Reconcile, nil},
		{"dead_letters", sampleSQL.Dead, limit}, {"views", sampleSQL.Views, limit}, {"processes", sampleSQL.Processes, nil}, {"builds", sampleSQL.Builds, limit},
		{"postgres", sampleSQL.Postgres, nil},
	}
}

// samples are the newest values of the sampled families, by sample: a [prometheus.Collector].
//
// mu guards taken.
type samples struct {
	families map[string]constant

	disks   sync.Mutex      // held while it is asked how full disks are
	failing map[string]bool // what could not be taken last time; of the one that samples

	mu    sync.Mutex
	taken map[string]taken
}

type taken struct {
	at      time.Time
	metrics []prometheus.Metric
}

func newSamples() *samples {
	return &samples{families: constants(sampled), taken: make(map[string]taken), failing: make(map[string]bool)}
}

// Describe implements [prometheus.Collector].
func (s *samples) Describe(to chan<- *prometheus.Desc) {
	for _, f := range s.families {
		to <- f.desc
	}
}

// Collect implements [prometheus.Collector]. What is too old is left out: of several workers
// the one that is cut off from home would go on telling a fault that is over.
func (s *samples) Collect(to chan<- prometheus.Metric) {
	for _, t := range s.copy() {
		if time.Since(t.at) >= staleAfter {
			continue
		}
		for _, m := range t.metrics {
			to <- m
		}
	}
}

func (s *samples) copy() map[string]taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.taken)
}

// value is one of a sample.
type value struct {
	family string
	labels []string
	value  float64
}

// put replaces a sample.
func (s *samples) put(name string, values []value) error {
	t := taken{at: time.Now()}
	series := make(map[string]int)
	for _, v := range values {
		series[v.family]++
		if series[v.family] > mostSeries {
			continue
		}
		metric, err := s.families[v.family].with(v.value, v.labels...)
		if err != nil {
			return fmt.Errorf("make a value of %s: %w", v.family, err)
		}
		t.metrics = append(t.metrics, metric)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[name] = t
	return nil
}

// Sample samples home, and the folders that the targets of some transfers are in, until
// ctx is done.
func (m *Metrics) Sample(ctx context.Context, home *pgxpool.Pool, targets map[string]string, log *slog.Logger) {
	for ctx.Err() == nil {
		began := time.Now()
		m.SampleOnce(ctx, home, targets, log)
		_ = pause.For(ctx, rest(time.Since(began)))
	}
}

// rest is the pause after a round that took so long.
func rest(took time.Duration) time.Duration {
	return min(max(sampleEvery, restFactor*took), mostRest)
}

// SampleOnce is one round of [Metrics.Sample]. A sample that cannot be taken stays as it was:
// that is said once, until it can be again. A home that does not answer at all is not asked
// for the others. It is not safe for concurrent use.
func (m *Metrics) SampleOnce(ctx context.Context, home *pgxpool.Pool, targets map[string]string, log *slog.Logger) {
	m.takeDisks(targets)
	for _, s := range list() {
		err := m.take(ctx, home, s)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !m.samples.failing[s.name] {
			log.WarnContext(ctx, "cannot take a sample for metrics, its values grow old", "sample", s.name, "err", err)
		}
		m.samples.failing[s.name] = err != nil
		if err != nil && !answers(ctx, home) {
			return
		}
	}
}

// answers tells whether home answers: what failed may have waited for a table that is
// locked, and says nothing of the others.
func answers(ctx context.Context, home *pgxpool.Pool) bool {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return home.Ping(ctx) == nil
}

// takeDisks takes the sample of the targets, and does not wait for it: a file system may
// hang. The next one is taken when this one has ended.
func (m *Metrics) takeDisks(targets map[string]string) {
	if !m.samples.disks.TryLock() {
		return
	}
	go func() {
		defer m.samples.disks.Unlock()
		_ = m.samples.put("targets", disks(targets)) // values of one label each
	}()
}

// take takes one sample of home.
func (m *Metrics) take(ctx context.Context, home *pgxpool.Pool, s sample) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	began := time.Now()
	values, err := query(ctx, home, s)
	m.Add("casq_metrics_query_seconds_total", time.Since(began).Seconds(), s.name)
	m.Add("casq_metrics_queries_total", 1, s.name, outcomeOf(err))
	if err != nil {
		return err
	}
	for _, v := range values {
		if v.family == "casq_counters_exact" { // from 0 on, so that the first increase shows
			m.Add("casq_counters_drift_total", 0, v.labels...)
		}
	}
	return m.samples.put(s.name, values)
}

func outcomeOf(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

func query(ctx context.Context, home *pgxpool.Pool, s sample) (values []value, err error) {
	var batch pgx.Batch // is one transaction, and one round trip
	batch.Queue(database.ByIndex)
	batch.Queue(s.sql, s.args...)
	results := home.SendBatch(ctx, &batch)
	defer func() { err = errors.Join(err, results.Close()) }()
	if _, err := results.Exec(); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (v value, err error) {
		err = row.Scan(&v.family, &v.labels, &v.value)
		return v, err
	})
}
