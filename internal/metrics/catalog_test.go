package metrics

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// row is a family as docs/metrics.md promises it.
var row = regexp.MustCompile("(?m)^\\| `(casq_[a-z_]+)` \\| (\\w+) \\| (\\w+) \\| ([^|]+) \\|([^|]*)\\| ([^|]+) \\|$")

type promised struct {
	sort, kind string
	labels     []string
}

func promises(t *testing.T) map[string]promised {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]promised)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		name, unit := m[1], m[4]
		if _, twice := all[name]; twice {
			t.Errorf("%s is listed twice", name)
		}
		for _, base := range []string{"seconds", "bytes"} {
			if bare := strings.TrimSuffix(name, "_total"); strings.HasSuffix(bare, "_"+base) != (unit == base) {
				t.Errorf("%s is listed in %s", name, unit)
			}
		}
		var labels []string
		for label := range strings.SplitSeq(strings.TrimSpace(m[5]), ", ") {
			if label != "" {
				labels = append(labels, strings.Trim(label, "`"))
			}
		}
		all[name] = promised{m[2], m[3], labels}
	}
	// Those of package replica have a test of their own.
	lines := strings.Count(string(text), "\n| `casq_") - strings.Count(string(text), "\n| `casq_replica_")
	if lines != len(all) {
		t.Errorf("%d of %d rows were understood", len(all), lines)
	}
	return all
}

// Dashboards and alerts are written by hand against the list, so it is compared both ways.
func TestFamiliesAreThosePromised(t *testing.T) {
	t.Parallel()
	want, got := promises(t), make(map[string]promised)
	for sort, families := range map[string][]Family{"counted": counted, "sampled": sampled, "present": present} {
		for _, f := range families {
			got[f.Name] = promised{sort, f.Type, f.Labels}
		}
	}
	for name, p := range want {
		if !reflect.DeepEqual(got[name], p) {
			t.Errorf("%s is promised as %v, and is %v", name, p, got[name])
		}
	}
	for name := range got {
		if _, there := want[name]; !there {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
}

func TestNoLabelIsAnID(t *testing.T) {
	t.Parallel()
	for _, f := range Catalog() {
		for _, label := range f.Labels {
			if label == "id" || strings.HasSuffix(label, "_id") || label == "resource" || label == "error" {
				t.Errorf("%s has a label %s, whose values have no bound", f.Name, label)
			}
		}
	}
}
