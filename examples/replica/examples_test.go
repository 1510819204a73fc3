package replica_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	examples "casq/examples/replica"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
)

func TestMain(m *testing.M) { testdb.Main(m) }

var names = []string{"pgx", "sqlc", "GORM", "bun", "ent"}

// TestPrograms runs each of them without the package, with a standby that has
// everything, and with one that stands still.
func TestPrograms(t *testing.T) {
	schema, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	bench := replicatest.New(t, 1)
	bench.Exec(t, string(schema))
	db := bench.Open(t, replica.Options{Wait: 10 * time.Second})
	impatient := bench.Open(t, replica.Options{})
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if got, err := examples.Without(t.Context(), bench.Primary, name); got != "hello" || err != nil {
				t.Errorf("without: %q, %v", got, err)
			}
			before := db.Hosts()[0].Served
			if got, err := examples.With(t.Context(), db, name); got != "hello" || err != nil {
				t.Errorf("with: %q, %v", got, err)
			}
			if db.Hosts()[0].Served == before {
				t.Error("nothing was read from the standby")
			}
			bench.Pause(t)
			if got, err := examples.With(t.Context(), impatient, name); got != "hello" || err != nil {
				t.Errorf("with a standby that stands still: %q, %v", got, err)
			}
			bench.Resume(t)
		})
	}
}

// TestTheDifferenceIsThreeLines compares the source of Without and With.
func TestTheDifferenceIsThreeLines(t *testing.T) {
	source, err := os.ReadFile("examples.go")
	if err != nil {
		t.Fatal(err)
	}
	body := func(name string) []string {
		_, after, found := strings.Cut(string(source), "func "+name+"(")
		text, _, ended := strings.Cut(after, "\n}\n")
		if !found || !ended {
			t.Fatalf("there is no function %s", name)
		}
		return strings.Split(text, "\n")[1:]
	}
	without, with := body("Without"), body("With")
	var differ []string
	for _, line := range with {
		if !slices.Contains(without, line) {
			differ = append(differ, line)
		}
	}
	if len(differ) > 3 {
		t.Errorf("%d lines differ:\n%s", len(differ), strings.Join(differ, "\n"))
	}
}
