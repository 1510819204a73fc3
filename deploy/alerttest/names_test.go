package alerttest

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"casq/internal/metrics"

	"github.com/prometheus/prometheus/promql/parser"
)

// dashboard is what is looked at of deploy/grafana.json.
type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr, LegendFormat string }
	}
}

// Each name and each label that an alert or a panel goes by is one that is told.
func TestExpressionsNameWhatIsTold(t *testing.T) {
	t.Parallel()
	for _, rule := range rules(t) {
		names(t, rule.Alert, rule.Expr)
		if rule.Labels["severity"] != "page" && rule.Labels["severity"] != "warning" {
			t.Errorf("%s is neither page nor warning", rule.Alert)
		}
	}
	text, err := os.ReadFile("../grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	ids, n := make(map[int]bool), 0
	for _, panel := range d.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %d %q: its id is another's, it has no title, or no room", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			n++
			names(t, panel.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
		}
	}
	if n < 20 {
		t.Errorf("%d expressions were found in the dashboard", n)
	}
}

// names complains of what an expression names and nobody tells.
func names(t *testing.T, where, text string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	known := []string{"instance", "le"}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		family, labels := find(selector.Name)
		if family == "" {
			t.Errorf("%s: there is no %s", where, selector.Name)
		}
		known = append(known, labels...)
		for _, m := range selector.LabelMatchers {
			if m.Name != "__name__" && !slices.Contains(labels, m.Name) {
				t.Errorf("%s: %s has no label %s", where, family, m.Name)
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if aggregate, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range aggregate.Grouping {
				if !slices.Contains(known, label) {
					t.Errorf("%s: nothing has a label %s", where, label)
				}
			}
		}
		return nil
	})
}

// find returns the family of a series, and its labels.
func find(series string) (family string, labels []string) {
	for _, f := range metrics.Catalog() {
		if series == f.Name || f.Type == "histogram" && slices.Contains([]string{"_bucket", "_sum", "_count"}, strings.TrimPrefix(series, f.Name)) {
			return f.Name, f.Labels
		}
	}
	return "", nil
}

// An alert that nobody has seen firing is not one.
func TestEachAlertIsPlayed(t *testing.T) {
	t.Parallel()
	played, err := os.ReadFile("faults_test.go")
	if err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(`wants\(t, \[\]string\{([^}]*)\}`).FindAllSubmatch(played, -1)
	for _, rule := range rules(t) {
		if !slices.ContainsFunc(wanted, func(names [][]byte) bool { return strings.Contains(string(names[1]), `"`+rule.Alert+`"`) }) {
			t.Errorf("no test has %s fire", rule.Alert)
		}
	}
}
