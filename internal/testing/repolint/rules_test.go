package repolint

import (
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// rule is one habit. check returns the problems of a tree, and how many places
// it checked: files, functions, rows.
type rule struct {
	name  string
	check func(tree) (problems []string, checked int)

	// needs is a file without which the rule has nothing to check yet.
	needs string

	// bad is a tree that breaks the rule, by path; want are parts of the
	// problems, in order, and there are no others.
	bad  map[string]string
	want []string
}

var rules = []rule{
	packageDocs, imports, importsHere, environment, exits, sleeps, failedTo, rowsByHand,
	leaks, fileLength, folderSize, mainLength, medians, machinePaths, leftOpen, emptyNames,
	documentedVariables, variableNames, cursorRows, raceList, makeHelp, lintReasons, goVersion, embeddedFiles, guardsAreTested, links,
}

func TestHouseRules(t *testing.T) {
	t.Parallel()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			repo := need(t)
			if r.needs != "" && repo.find(r.needs) == nil {
				t.Skipf("there is no %s yet", r.needs)
			}
			problems, checked := r.check(repo)
			for _, problem := range problems {
				t.Error(problem)
			}
			if checked == 0 {
				t.Error("the rule checked nothing")
			}
		})
	}
}

func TestHouseRulesCanFail(t *testing.T) {
	t.Parallel()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			fsys := fstest.MapFS{}
			for name, text := range r.bad {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			bad, err := load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			problems, _ := r.check(bad)
			if len(problems) != len(r.want) || len(r.want) == 0 {
				t.Fatalf("got %d problems, want %d (and at least one):\n%s",
					len(problems), len(r.want), strings.Join(problems, "\n"))
			}
			for i, want := range r.want {
				if !strings.Contains(problems[i], want) {
					t.Errorf("problem %d is %q, want it to say %q", i, problems[i], want)
				}
			}
		})
	}
}
