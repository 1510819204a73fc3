package alerttest

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	scrapeEvery = 15 * time.Second
	evalEvery   = 30 * time.Second
)

// scraped is one scrape of all workers of a site: values by series.
type scraped map[string]point

type point struct {
	lset  labels.Labels
	value float64
}

func (p point) name() string { return p.lset.Get(model.MetricNameLabel) }

// of is the same of another worker.
func (s scraped) of(instance string) scraped {
	all := make(scraped)
	for _, p := range s {
		lset := labels.NewBuilder(p.lset).Set("instance", instance).Labels()
		all[lset.String()] = point{lset, p.value}
	}
	return all
}

// and is a scrape of both.
func (s scraped) and(other scraped) scraped {
	all := maps.Clone(s)
	maps.Copy(all, other)
	return all
}

// ageOfSamples grows while home does not answer a worker.
const ageOfSamples = "casq_metrics_sample_age_seconds"

// blind is what is left three minutes after the observer has lost home: what it has sampled
// is absent, and its age is told. A test of internal/metrics has it so.
func (s scraped) blind() scraped {
	left := make(scraped)
	for key, p := range s {
		switch {
		case p.name() == ageOfSamples:
			p.value += 180
		case p.lset.Get("instance") == "observer":
			continue
		}
		left[key] = p
	}
	return left
}

// tape is what a Prometheus has of a site: a [storage.Queryable].
type tape struct {
	begin, now time.Time
	series     map[string]*track
}

type track struct {
	lset   labels.Labels
	points []chunks.Sample
}

// at is a sample.
type at struct {
	t int64
	v float64
}

func (a at) T() int64                    { return a.t }
func (a at) F() float64                  { return a.v }
func (at) H() *histogram.Histogram       { return nil }
func (at) FH() *histogram.FloatHistogram { return nil }
func (at) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (at) ST() int64                     { return 0 }
func (a at) Copy() chunks.Sample         { return a }

func newTape() *tape {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &tape{begin: begin, now: begin, series: make(map[string]*track)}
}

// add adds a scrape. A series that is not in it is marked as gone, as Prometheus does.
func (t *tape) add(values scraped, change func(point) float64) {
	for key, s := range t.series {
		if _, told := values[key]; !told {
			s.points = append(s.points, at{t.now.UnixMilli(), math.Float64frombits(value.StaleNaN)})
		}
	}
	for key, p := range values {
		if t.series[key] == nil {
			t.series[key] = &track{lset: p.lset}
		}
		s := t.series[key]
		s.points = append(s.points, at{t.now.UnixMilli(), change(p)})
	}
	t.now = t.now.Add(scrapeEvery)
}

// stays has what was scraped last for so long, while the ages that some families tell grow:
// those of what the fault has left. 0 is the age of nothing.
func (t *tape) stays(values scraped, d time.Duration, ages ...string) {
	for past := time.Duration(0); past <= d; past += scrapeEvery {
		t.add(values, func(p point) float64 {
			if p.value > 0 && slices.Contains(ages, p.name()) {
				return p.value + past.Seconds()
			}
			return p.value
		})
	}
}

// goes leads from one scrape to a later one in so long: counters rise evenly.
func (t *tape) goes(from, to scraped, d time.Duration) {
	for past := time.Duration(0); past <= d; past += scrapeEvery {
		t.add(to, func(p point) float64 {
			before := from[p.lset.String()] // a counter that is not there yet is 0
			return before.value + (p.value-before.value)*past.Seconds()/d.Seconds()
		})
	}
}

// Querier implements [storage.Queryable].
func (t *tape) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &set{at: -1}
		for _, key := range slices.Sorted(maps.Keys(t.series)) {
			s := t.series[key]
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.lset.Get(m.Name)) }) {
				found.series = append(found.series, storage.NewListSeries(s.lset, s.points))
			}
		}
		return found
	}}, nil
}

// set is a [storage.SeriesSet].
type set struct {
	series []storage.Series
	at     int
}

func (s *set) Next() bool                      { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series              { return s.series[s.at] }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }

// rules are those of deploy/alerts.yml.
func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("../alerts.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var all []rulefmt.Rule
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// fired returns after how long each alert has fired for the first time, as Prometheus does:
// when its expression has had a result at each evaluation for the rule's time.
func (t *tape) fired(tb testing.TB, all []rulefmt.Rule) map[string]time.Duration {
	tb.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer func() { _ = engine.Close() }()
	fired := make(map[string]time.Duration)
	for _, rule := range all {
		active := make(map[string]time.Time)
		for ts := t.begin; ts.Before(t.now); ts = ts.Add(evalEvery) {
			now := make(map[string]time.Time)
			for _, key := range t.results(tb, engine, rule.Expr, ts) {
				since, was := active[key]
				if !was {
					since = ts
				}
				now[key] = since
				if _, told := fired[rule.Alert]; !told && ts.Sub(since) >= time.Duration(rule.For) {
					fired[rule.Alert] = ts.Sub(t.begin)
				}
			}
			active = now
		}
	}
	return fired
}

func (t *tape) results(tb testing.TB, engine *promql.Engine, expr string, ts time.Time) []string {
	tb.Helper()
	query, err := engine.NewInstantQuery(context.Background(), t, promql.NewPrometheusQueryOpts(false, 0, nil), expr, ts)
	if err != nil {
		tb.Fatalf("%s: %v", expr, err)
	}
	defer query.Close()
	vector, err := query.Exec(context.Background()).Vector()
	if err != nil {
		tb.Fatalf("%s: %v", expr, err)
	}
	keys := make([]string, len(vector))
	for i, one := range vector {
		keys[i] = one.Metric.String()
	}
	return keys
}
