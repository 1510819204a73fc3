package cifile_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"casq/internal/cifile"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ciFile = ".gitlab-ci.yml"

// folder is a folder with a CI file, and others by their names.
func folder(text string, others ...string) fs.FS {
	files := fstest.MapFS{ciFile: {Data: []byte(text)}}
	for i := 0; i+1 < len(others); i += 2 {
		files[others[i]] = &fstest.MapFile{Data: []byte(others[i+1])}
	}
	return files
}

func read(t *testing.T, files fs.FS) *cifile.File {
	t.Helper()
	f, err := cifile.Read(files, ciFile)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func job(t *testing.T, f *cifile.File, name string) *cifile.Job {
	t.Helper()
	for _, j := range f.Jobs {
		if j.Name == name {
			return j
		}
	}
	t.Fatalf("there is no job %q in %v", name, f.Jobs)
	return nil
}

func TestJobsHaveWhatTheyInherit(t *testing.T) {
	t.Parallel()
	f := read(t, folder(`
include: [local: /ci/base.yml]
default:
  before_script: [default before]
  tags: [linux]
  timeout: 1h 30m
.anchor: &anchor
  retry: {max: 1, when: script_failure}
.shared:
  lines: [shared one, shared two]
one:
  <<: *anchor
  extends: .base
  script:
    - !reference [.shared, lines]
    - own
two:
  extends: [.base, .other]
  before_script: []
  script: two
  inherit: {default: [tags]}
`, "ci/base.yml", `
include: ci/other.yml
.base: {variables: {A: base, B: base}, image: old}
`, "ci/other.yml", `
.other: {variables: {B: other}, image: {name: new, entrypoint: [""]}}
`))
	one := job(t, f, "one")
	if got := strings.Join(one.Script, ", "); got != "default before, shared one, shared two, own" {
		t.Errorf("the script is %s", got)
	}
	if one.Timeout.String() != "1h30m0s" || one.Retry.Most != 1 || one.Image.Name != "old" || one.Tags[0] != "linux" || one.Stage != "test" {
		t.Errorf("got %+v", one)
	}
	two := job(t, f, "two")
	if len(two.Script) != 1 || two.Timeout != 0 || two.Image.Name != "new" || len(two.Tags) != 1 {
		t.Errorf("got %+v", two)
	}
	plan, err := f.Plan(cifile.Options{Predefined: onMain()})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(plan.Jobs[1].Variables); got != "[{A base false false} {B other false false}]" {
		t.Errorf("the variables of two are %s", got)
	}
}

func TestArtifactsAndCaches(t *testing.T) {
	t.Parallel()
	j := job(t, read(t, folder(`
a:
  script: a
  artifacts:
    paths: [out/]
    exclude: [out/tmp]
    when: always
    expire_in: 1 week
    reports: {junit: report.xml, coverage_report: {coverage_format: cobertura, path: c.xml}}
  cache:
    - {paths: [a/], key: {files: [go.sum], prefix: go}, policy: pull}
    - {paths: [b/]}
`, "go.sum", "sums")), "a")
	if got := fmt.Sprintf("%+v", j.Artifacts); got != "[{Name: Untracked:false Paths:[out/] Exclude:[out/tmp] When:always Type:archive Format:zip ExpireIn:1 week} "+
		"{Name:junit.xml Untracked:false Paths:[report.xml] Exclude:[] When:always Type:junit Format:gzip ExpireIn:1 week} "+
		"{Name:coverage.xml Untracked:false Paths:[c.xml] Exclude:[] When:always Type:cobertura Format:gzip ExpireIn:1 week}]" {
		t.Errorf("artifacts: %s", got)
	}
	if len(j.Caches) != 2 || !strings.HasPrefix(j.Caches[0].Key, "go-") || len(j.Caches[0].Key) != 43 || j.Caches[1].Key != "default" {
		t.Errorf("caches: %+v", j.Caches)
	}
}

// What is wrong is told with its line, wherever it stands.
func TestWhatIsWrongIsRefused(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 9), i-1)
	}
	references := ".a: {script: [x,x,x,x,x,x,x,x,x,x]}\n"
	for i := 'b'; i < 'k'; i++ {
		references += fmt.Sprintf(".%c: {script: [%s]}\n", i, strings.Repeat(fmt.Sprintf("!reference [.%c, script], ", i-1), 10))
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", ":1: the file is empty"},
		"no YAML":             {"a:\n  - b\n c", ":2: this is no YAML"},
		"two documents":       {"spec: {}\n---\na: {script: a}", ":2: a second document"},
		"a list":              {"- a", ":1: the file is a list"},
		"zero":                {"a: {script: \"\\0\"}", "the character 0"},
		"no jobs":             {".a: {script: a}", "no jobs"},
		"bomb":                {bomb, "more than 100000 values"},
		"references":          {references + "x: {script: [!reference [.j, script]]}", "more than 100000 values"},
		"alias in itself":     {"a: &a\n  script: [*a]", "nested more than 100 deep"},
		"deep":                {"a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested more than 100 deep"},
		"twice":               {"a: {script: a}\na: {script: b}", `:2: "a" stands here twice`},
		"unknown key":         {"a:\n  skript: a\n  script: a", `:2: a: "skript" is no key of a job`},
		"unknown global":      {"stagse: [a]\na: {script: a}", `:1: "stagse" is no key of a CI file`},
		"no script":           {"a: {stage: test}", ":1: a has no script"},
		"colon":               {"a:\n  script:\n    - echo a: b", `:3: script has a map: a line with ": "`},
		"number":              {"a:\n  script: [1]", `:2: script has "1"`},
		"a map as stage":      {"a: {script: a, stage: {}}", "stage is a map"},
		"stage":               {"stages: [b]\na: {script: a}", `:2: a is of stage "test", which is none of .pre, b, .post`},
		"extends nothing":     {"a: {script: a, extends: .b}", `:1: extends names ".b", which is no job`},
		"extends itself":      {".a: {extends: .b}\n.b: {extends: .a}\nc: {script: c, extends: .a}", "extends leads back to where it began: .a, .b, .a"},
		"reference":           {"a: {script: [!reference [.b, script]]}", `there is no ".b"`},
		"reference of itself": {".a: {script: [!reference [.a, script]]}\nb: {script: [!reference [.a, script]]}", "leads back to where it began"},
		"tag":                 {"a: {script: !secret x}", "the tag !secret is not supported"},
		"retry":               {"a: {script: a, retry: 3}", `retry is "3": it has to be a number from 0 to 2`},
		"timeout":             {"a: {script: a, timeout: soon}", `timeout is "soon": it has to be a time`},
		"when":                {"a: {script: a, when: later}", "when is \"later\": it may be on_success"},
		"variable":            {"a: {script: a, variables: {'B-C': d}}", `"B-C" is no name of a variable`},
		"boolean variable":    {"a: {script: a, variables: {B: true}}", `variables:B is "true": it has to be a text`},
		"expression":          {"a:\n  script: a\n  rules:\n    - if: $A = 1", `:4: rules:if: read the expression "$A = 1"`},
		"pattern":             {"a: {script: a, rules: [if: $A =~ /(/]}", "missing closing"},
		"rules and only":      {"a: {script: a, rules: [], only: [main]}", "it may have one of them"},
		"global":              {"default: {script: a}\na: {script: a}", ":1: default:script is not supported"},
		"include elsewhere":   {"include: https://example.com/a.yml\na: {script: a}", ":1: include:remote is not supported"},
		"include project":     {"include:\n  - project: a/b\n    file: c.yml\na: {script: a}", ":2: include:project is not supported"},
		"include nothing":     {"include: b.yml\na: {script: a}", ":1: there is no file b.yml"},
		"include outside":     {"include: ../b.yml\na: {script: a}", ":1: include:local leads out of the folder"},
		"include itself":      {"include: .gitlab-ci.yml\na: {script: a}", "includes itself"},
		"include a pattern":   {"include: 'ci/*.yml'\na: {script: a}", "wildcards and variables"},
		"large":               {"# " + strings.Repeat("x", 1<<20), "has more than 1048576 bytes"},
		"matrix":              {"a: {script: a, parallel: {matrix: [{A: [" + strings.Repeat("x,", 300) + "]}]}}", "at most 200"},
		"artifacts":           {"a: {script: a, artifacts: {path: [a]}}", `artifacts has the key "path"`},
		"report":              {"a: {script: a, artifacts: {reports: {junti: a}}}", `artifacts:reports has "junti"`},
		"cache":               {"a: {script: a, cache: {path: [a]}}", `"path" is no key of cache`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := cifile.Read(folder(c.text), ciFile)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// All that is wrong is told at once.
func TestProblemsComeInOrder(t *testing.T) {
	t.Parallel()
	_, err := cifile.Read(folder("a:\n  script: a\n  foo: 1\n  bar: 1\nb:\n  when: never\n"), ciFile)
	want := strings.Join([]string{
		`.gitlab-ci.yml:3: a: "foo" is no key of a job`, `.gitlab-ci.yml:4: a: "bar" is no key of a job`, ".gitlab-ci.yml:5: b has no script",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// A link that leads out of the folder is no way around it.
func TestNothingOutsideIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside")
	for _, err := range []error{
		os.MkdirAll(inside, 0o700),
		os.WriteFile(filepath.Join(dir, "outside.yml"), []byte("b: {script: b}"), 0o600),
		os.Symlink("../outside.yml", filepath.Join(inside, "link.yml")),
		os.WriteFile(filepath.Join(inside, ciFile), []byte("include: link.yml\na: {script: a}"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := cifile.Read(root.FS(), ciFile); err == nil || !strings.Contains(err.Error(), "link.yml: path escapes") {
		t.Errorf("got %v", err)
	}
}
