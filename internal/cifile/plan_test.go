package cifile_test

import (
	"fmt"
	"strings"
	"testing"

	"casq/internal/cifile"
)

// onMain is what is known of a run on the branch main.
func onMain() []cifile.Variable {
	return []cifile.Variable{
		{Key: "CI_PIPELINE_SOURCE", Value: "push"}, {Key: "CI_COMMIT_BRANCH", Value: "main"}, {Key: "CI_COMMIT_REF_NAME", Value: "main"},
	}
}

// shown is a plan in short: each job with those that it waits for, and gets artifacts of.
func shown(p *cifile.Plan) string {
	var jobs []string
	for _, j := range p.Jobs {
		var after []string
		for _, i := range j.After {
			after = append(after, p.Jobs[i].Name)
		}
		text := j.Name
		if len(after) > 0 {
			text += " after " + strings.Join(after, " ")
		}
		if len(j.Gets) != len(j.After) {
			text += fmt.Sprintf(" gets %d", len(j.Gets))
		}
		jobs = append(jobs, text)
	}
	return strings.Join(jobs, "; ")
}

const stagesText = `
stages: [build, test, deploy]
test: {script: t}
deploy: {stage: deploy, script: d, dependencies: [build]}
build: {stage: build, script: b}
fast: {stage: deploy, script: f, needs: [{job: build, artifacts: false}]}
now: {stage: deploy, script: n, needs: []}
first: {stage: .pre, script: p}
`

func TestPlanGoesByStagesAndNeeds(t *testing.T) {
	t.Parallel()
	for names, want := range map[string]string{
		"":          "first; build after first; test after first build; deploy after first build test gets 1; fast after build gets 0; now",
		"now":       "now",
		"fast":      "first; build after first; fast after build gets 0",
		"test fast": "first; build after first; test after first build; fast after build gets 0",
	} {
		plan, err := read(t, folder(stagesText)).Plan(cifile.Options{Predefined: onMain(), Jobs: strings.Fields(names)})
		if err != nil || shown(plan) != want {
			t.Errorf("%q: %v\n got %s\nwant %s", names, err, shown(plan), want)
		}
	}
	plan, err := read(t, folder(stagesText)).Plan(cifile.Options{Predefined: onMain(), Jobs: []string{"deploy"}, Alone: true})
	if err != nil || shown(plan) != "deploy" {
		t.Errorf("alone: %v, %s", err, shown(plan))
	}
}

func TestPlanGoesByRules(t *testing.T) {
	t.Parallel()
	given := func(pairs ...string) (variables []cifile.Variable) {
		for _, pair := range pairs {
			key, value, _ := strings.Cut(pair, "=")
			variables = append(variables, cifile.Variable{Key: key, Value: value})
		}
		return variables
	}
	for text, c := range map[string]struct {
		given []cifile.Variable
		runs  bool
	}{
		`rules: [if: $CI_COMMIT_BRANCH == "main"]`:                     {nil, true},
		`rules: [if: $CI_COMMIT_BRANCH != "main"]`:                     {nil, false},
		`rules: [if: $CI_COMMIT_BRANCH =~ /^MA/i && $NOT == null]`:     {nil, true},
		`rules: [if: $CI_COMMIT_BRANCH !~ /^ma/ || ($A && $B == "x")]`: {given("A=1", "B=x"), true},
		`rules: [if: $A]`:                      {given("A="), false},
		`rules: [if: $CI_COMMIT_BRANCH =~ $P]`: {given("P=/^m.*n$/"), true},
		`{variables: {B: $CI_COMMIT_BRANCH-x}, rules: [if: $B == "main-x"]}`: {nil, true},
		`rules: [{exists: ["src/**/*.go"]}]`:                                 {nil, true},
		`rules: [{exists: ["src/*.go"]}]`:                                    {nil, false},
		`rules: [{if: $CI_COMMIT_BRANCH, when: never}, {when: always}]`:      {nil, false},
		`only: [main]`:           {nil, true},
		`only: [tags]`:           {nil, false},
		`only: [merge_requests]`: {given("CI_PIPELINE_SOURCE=merge_request_event"), true},
		`only: [/^ma/]`:          {nil, true},
		`{only: {refs: [main], variables: [$A]}}`: {nil, false},
		`{only: {variables: [$A == "1"]}}`:        {given("A=1"), true},
		`except: [branches]`:                      {nil, false},
		`except: {variables: [$A]}`:               {given("A=1"), false},
		`{when: never}`:                           {nil, false},
		`rules: [{if: $CI_COMMIT_TAG, changes: [a]}, {when: on_success}]`:                 {nil, true},
		`{parallel: 2, rules: [if: $CI_COMMIT_BRANCH]}`:                                   {nil, true},
		`{inherit: {variables: false}, rules: [if: $GLOBAL]}`:                             {nil, false},
		`rules: [if: $GLOBAL == "yes" && $CI_JOB_NAME == "a" && $CI_JOB_STAGE == 'test']`: {nil, true},
	} {
		var file strings.Builder
		file.WriteString("variables: {GLOBAL: 'yes'}\nother: {script: o}\na:\n  script: a\n")
		if strings.HasPrefix(text, "{") {
			file.WriteString("  <<: " + text + "\n")
		} else {
			file.WriteString("  " + text + "\n")
		}
		plan, err := read(t, folder(file.String(), "src/a/b/c.go", "")).Plan(cifile.Options{
			Predefined: onMain(), Given: c.given, Files: folder("", "src/a/b/c.go", ""),
		})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if runs := strings.HasPrefix(shown(plan), "a") || strings.Contains(shown(plan), "; a"); runs != c.runs {
			t.Errorf("%s: it runs is %v: %s", text, runs, shown(plan))
		}
	}
}

func TestRulesChangeJobs(t *testing.T) {
	t.Parallel()
	plan, err := read(t, folder(`
workflow: {name: x, rules: [{if: $CI_COMMIT_BRANCH, variables: {W: workflow, J: workflow}}]}
variables: {W: global}
a:
  script: a
  variables: {J: job}
  rules:
    - {if: $W == "workflow", when: manual, allow_failure: true, variables: {R: rule}}
b: {script: b, when: manual}
c: {script: c, rules: [when: manual]}
`)).Plan(cifile.Options{Predefined: onMain()})
	if err != nil {
		t.Fatal(err)
	}
	a := plan.Jobs[0]
	if got := fmt.Sprint(a.Variables); got != "[{W workflow false false} {J job false false} {R rule false false}]" || a.When != cifile.Manual || !a.AllowFailure.Any {
		t.Errorf("got %s, %+v", got, a)
	}
	if !plan.Jobs[1].AllowFailure.Any || plan.Jobs[2].AllowFailure.Any {
		t.Error("a manual job stops nobody, and by rules it stops what comes after it")
	}
}

func TestParallelMakesSeveralJobs(t *testing.T) {
	t.Parallel()
	plan, err := read(t, folder(`
a: {stage: build, script: a, parallel: 2}
b:
  script: b
  needs: [a]
  parallel: {matrix: [{OS: [linux, mac], ARCH: [x]}, {OS: win}]}
c: {script: c, needs: ["a 2/2"]}
`)).Plan(cifile.Options{Predefined: onMain()})
	const want = "a 1/2; a 2/2; b: [linux, x] after a 1/2 a 2/2; b: [mac, x] after a 1/2 a 2/2; b: [win] after a 1/2 a 2/2; c after a 2/2"
	if err != nil || shown(plan) != want {
		t.Fatalf("%v\n got %s\nwant %s", err, shown(plan), want)
	}
	if got := fmt.Sprint(plan.Jobs[3].Variables); got != "[{OS mac false false} {ARCH x false false} {CI_NODE_INDEX 2 false false} {CI_NODE_TOTAL 3 false false}]" {
		t.Errorf("got %s", got)
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, jobs, want string }{
		"needs itself":    {"a: {script: a, needs: [a]}", "", ":1: a needs itself"},
		"needs nothing":   {"a: {script: a, needs: [b]}", "", `:1: a needs "b", which is no job`},
		"needs a cycle":   {"a: {script: a, needs: [b]}\nb: {script: b, needs: [c]}\nc: {script: c, needs: [a]}", "", "needs lead back to where they began: a, b, c, a"},
		"needs later":     {"a: {stage: build, script: a, needs: [b]}\nb: {script: b}", "", `a needs "b", which is of a later stage`},
		"needs left out":  {"a: {script: a, needs: [b]}\nb: {script: b, rules: [when: never]}", "", "which the rules leave out: needs:optional"},
		"dependencies":    {"a: {script: a, dependencies: [b]}\nb: {script: b}", "", "which it does not wait for"},
		"no such job":     {"a: {script: a}\nb: {script: b}", "c", `there is no job "c"; there are a, b`},
		"left out":        {"a: {script: a, only: [tags]}\nb: {script: b}", "a", `the rules leave "a" out`},
		"no jobs":         {"a: {script: a, only: [tags]}", "", "the rules leave no job to run"},
		"workflow":        {"workflow: {rules: [{if: $X}]}\na: {script: a}", "", "no rule of workflow applies"},
		"workflow never":  {"workflow: {rules: [{when: never}]}\na: {script: a}", "", ":1 says never"},
		"environment":     {"a:\n  script: a\n  environment: prod", "", ":3: a: environment is not supported here"},
		"trigger":         {"a: {trigger: {project: x}}", "", "a: trigger is not supported here"},
		"dotenv":          {"a: {script: a, artifacts: {reports: {dotenv: b}}}", "", "artifacts:reports:dotenv is not supported"},
		"delayed":         {"a: {script: a, when: delayed, start_in: 1 day}", "", "when: delayed is not supported here"},
		"changes":         {"a: {script: a, rules: [{changes: [b]}]}", "", "rules:changes is not supported here"},
		"default hooks":   {"default: {hooks: {}}\na: {script: a}", "", ":1: a: hooks is not supported here"},
		"needs a project": {"a: {script: a, needs: [{project: b, job: c, ref: d}]}", "", "needs:project is not supported"},
		"pattern":         {"a: {script: a, variables: {P: x}, rules: [if: $CI_COMMIT_BRANCH =~ $P]}", "", `"x" is no pattern`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := cifile.Read(folder(c.text), ciFile)
			if err == nil {
				_, err = f.Plan(cifile.Options{Predefined: onMain(), Jobs: strings.Fields(c.jobs)})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A pattern costs as much as it is long, for each file.
func TestPatternsOfFilesAreCheap(t *testing.T) {
	t.Parallel()
	const deep = 60
	pattern := strings.Repeat("**/a/", deep) + "b"
	plan, err := read(t, folder("a: {script: a, rules: [exists: ['"+pattern+"']]}\nb: {script: b}")).Plan(cifile.Options{
		Predefined: onMain(), Files: folder("", strings.Repeat("a/", 2*deep)+"c", ""),
	})
	if err != nil || shown(plan) != "b" {
		t.Errorf("got %v, %v", plan, err)
	}
}

// What is not supported in a job that does not run is no matter.
func TestOnlyJobsThatRunHaveToBeSupported(t *testing.T) {
	t.Parallel()
	const text = "a: {script: a}\nb: {stage: deploy, script: b, environment: prod}\nc: {stage: deploy, script: c, when: manual, environment: prod}\n" +
		"d: {stage: deploy, script: d, rules: [changes: [x]]}\n"
	f := read(t, folder(text))
	for jobs, refused := range map[string]bool{"": true, "a": false, "b": true, "c": true, "d": true} {
		if _, err := f.Plan(cifile.Options{Predefined: onMain(), Jobs: strings.Fields(jobs)}); (err != nil) != refused {
			t.Errorf("%q: %v", jobs, err)
		}
	}
}
