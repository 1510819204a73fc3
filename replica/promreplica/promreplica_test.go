package promreplica

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"casq/replica"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type counted replica.Counts

func (c counted) Counts() replica.Counts { return replica.Counts(c) }

// row is a family as docs/metrics.md promises it.
var row = regexp.MustCompile("(?m)^\\| `(casq_replica_[a-z_]+)` \\| counter \\|")

func TestFamiliesAreThosePromised(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := make(map[string]bool)
	for _, found := range row.FindAllStringSubmatch(string(page), -1) {
		promised[found[1]] = true
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Collector(counted{}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !promised[f.GetName()] {
			t.Errorf("%s is not in docs/metrics.md", f.GetName())
		}
		delete(promised, f.GetName())
	}
	for name := range promised {
		t.Errorf("%s is promised, and nobody tells it", name)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestEachReasonHasAWord(t *testing.T) {
	t.Parallel()
	last := replica.Reason(0)
	for ; !strings.HasPrefix(last.String(), "reason "); last++ {
		if words[last] == "" {
			t.Errorf("%q has no word", last)
		}
	}
	if int(last) != len(words) {
		t.Errorf("%d reasons have %d words", last, len(words))
	}
}

func TestCountsAreTold(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(Collector(counted{
		Choices: map[replica.Reason]int64{replica.Waited: 3, replica.AfterWrite: 5}, Unmarked: 4, Unresolved: 6, Retried: 2,
		Audits: replica.Audits{Same: 7, Undecided: 8, Violations: 1},
	}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			series := strings.TrimPrefix(f.GetName(), "casq_replica_")
			for _, l := range m.GetLabel() {
				series += " " + l.GetValue()
			}
			told[series] = m.GetCounter().GetValue()
		}
	}
	for series, want := range map[string]float64{
		"statements_total standby waited": 3, "statements_total primary after_write": 5, "statements_total primary write": 0,
		"unmarked_commits_total": 4, "unresolved_commits_total": 6, "retried_reads_total": 2,
		"audits_total same": 7, "audits_total undecided": 8, "audits_total violation": 1,
	} {
		if got, there := told[series]; !there || got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if len(told) != 15+3+3 {
		t.Errorf("told are %v", told)
	}
}
