package metrics

import (
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// now tells what is in this process's memory at the time of a scrape: a
// [prometheus.Collector].
//
// mu guards what follows it.
type now struct {
	families map[string]constant
	samples  *samples

	mu      sync.Mutex
	pools   map[string]*pgxpool.Pool
	roles   func() map[string]bool
	waiting func() int
}

// Pool has a pool told of, under a name.
func (m *Metrics) Pool(name string, pool *pgxpool.Pool) {
	m.now.mu.Lock()
	defer m.now.mu.Unlock()
	if m.now.pools == nil {
		m.now.pools = make(map[string]*pgxpool.Pool)
	}
	m.now.pools[name] = pool
}

// Roles has the roles of this worker told of, and whether they are ready.
func (m *Metrics) Roles(roles func() map[string]bool) {
	m.now.mu.Lock()
	defer m.now.mu.Unlock()
	m.now.roles = roles
}

// Waiting has it told how many requests of runners wait.
func (m *Metrics) Waiting(waiting func() int) {
	m.now.mu.Lock()
	defer m.now.mu.Unlock()
	m.now.waiting = waiting
}

// Describe implements [prometheus.Collector].
func (n *now) Describe(to chan<- *prometheus.Desc) {
	for _, f := range n.families {
		to <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (n *now) Collect(to chan<- prometheus.Metric) {
	n.mu.Lock()
	pools, roles, waiting := maps.Clone(n.pools), n.roles, n.waiting
	n.mu.Unlock()
	tell := func(family string, value float64, labels ...string) {
		metric, err := n.families[family].with(value, labels...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(n.families[family].desc, err)
		}
		to <- metric
	}
	for name, s := range n.samples.copy() {
		tell("casq_metrics_sample_age_seconds", time.Since(s.at).Seconds(), name)
	}
	for name, pool := range pools {
		tellPool(tell, name, pool.Stat())
	}
	if roles != nil {
		for role, ready := range roles() {
			tell("casq_role_ready", one(ready), role)
		}
	}
	if waiting != nil {
		tell("casq_build_requests_waiting", float64(waiting()))
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func tellPool(tell func(string, float64, ...string), name string, s *pgxpool.Stat) {
	tell("casq_pool_connections", float64(s.AcquiredConns()), name, "in_use")
	tell("casq_pool_connections", float64(s.IdleConns()), name, "idle")
	tell("casq_pool_connections", float64(s.ConstructingConns()), name, "opening")
	tell("casq_pool_max_connections", float64(s.MaxConns()), name)
	tell("casq_pool_acquires_total", float64(s.AcquireCount()), name)
	tell("casq_pool_acquire_wait_seconds_total", s.EmptyAcquireWaitTime().Seconds(), name)
	tell("casq_pool_empty_acquires_total", float64(s.EmptyAcquireCount()), name)
}
