package repolint

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)

// variablesRead are the names of environment variables in cmd: what is given
// to a function with "env" in its name, and, in files called config*.go, every
// literal that looks like one, since a table names them there.
func variablesRead(t tree) map[string]bool {
	names := map[string]bool{}
	for _, f := range t.code(false) {
		if !f.within("cmd") {
			continue
		}
		add := func(expr ast.Expr) {
			if name := t.constant(f, expr); variableName.MatchString(name) {
				names[name] = true
			}
		}
		f.calls(func(_ *ast.FuncDecl, call *ast.CallExpr, _, name string) {
			if strings.Contains(strings.ToLower(name), "env") && len(call.Args) > 0 {
				add(call.Args[0])
			}
		})
		if !strings.HasPrefix(path.Base(f.path), "config") {
			continue
		}
		ast.Inspect(f.ast, func(node ast.Node) bool {
			if lit, ok := node.(*ast.BasicLit); ok {
				add(lit)
			}
			return true
		})
	}
	return names
}

var (
	unescapedPipe = regexp.MustCompile(`(?:^|[^\\])\|`)
	quotedName    = regexp.MustCompile("`([A-Z][A-Z0-9_]*)(?:=[^`]*)?`")
)

// variablesDocumented are the names in the first column of the tables of docs/configuration.md
// whose first heading is "variable".
func variablesDocumented(readme string) map[string]bool {
	names := map[string]bool{}
	inside := false
	for line := range strings.Lines(readme) {
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cell := unescapedPipe.Split(line, 3)[1]
		if strings.EqualFold(strings.TrimSpace(cell), "variable") {
			inside = true
		}
		if !inside {
			continue
		}
		for _, match := range quotedName.FindAllStringSubmatch(cell, -1) {
			names[match[1]] = true
		}
	}
	return names
}

var documentedVariables = rule{
	name:  "the documented variables are those that the programs read",
	needs: "docs/configuration.md",
	check: func(t tree) (problems []string, checked int) {
		documented := map[string]bool{}
		if page := t.find("docs/configuration.md"); page != nil {
			documented = variablesDocumented(page.text)
		}
		read := variablesRead(t)
		for _, name := range sorted(read) {
			checked++
			if !documented[name] {
				problems = append(problems, fmt.Sprintf("docs/configuration.md: %s is read in cmd, but is in no table of variables", name))
			}
		}
		for _, name := range sorted(documented) {
			checked++
			if !read[name] {
				problems = append(problems, fmt.Sprintf("docs/configuration.md: %s is in a table of variables, but nothing in cmd reads it", name))
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		"docs/configuration.md": "| variable | meaning |\n|---|---|\n| `DATABASE_URL` | `NOT_ME` |\n" +
			"| `RUNNER_READS=standby\\|primary`, `GONE_URL` | x |\n\n| other | x |\n|---|---|\n| `NOR_ME` | |\n",
		"cmd/worker/main.go":   "package main\nvar a = os.Getenv(\"REDIS_URL\")\nvar c = os.Getenv(name)\n",
		"cmd/worker/config.go": "package main\nvar table = []v{{\"DATABASE_URL\", \"SIGTERM\"}, {name: \"RUNNER_READS\"}}\n",
		"cmd/worker/other.go":  "package main\nvar b = []v{{\"LOOKS_LIKE_ONE\"}}\n",
		"jobs/jobs.go":         "package jobs\nvar d = os.Getenv(\"ELSE_WHERE\")\n",
	},
	want: []string{"REDIS_URL is read", "GONE_URL is in a table"},
}

// variable is a name that only a variable of the environment has.
var variable = regexp.MustCompile(`\b([A-Z]+(?:_[A-Z]+)+)\b(=?)`)

// speakOfVariables are the folders of programs, and of what only programs and tests use.
var speakOfVariables = []string{"cmd", "internal/programs", "internal/testing", "internal/dev", "races"}

var variableNames = rule{
	name: "the names of variables are known in cmd only",
	check: func(t tree) (problems []string, checked int) {
		read := variablesRead(t)
		for _, f := range t.code(false) {
			if slices.ContainsFunc(speakOfVariables, f.within) {
				continue
			}
			ast.Inspect(f.ast, func(node ast.Node) bool {
				literal, ok := node.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				checked++
				for _, match := range variable.FindAllStringSubmatch(literal.Value, -1) {
					// A child process is given NAME=value.
					if name := match[1]; read[name] && match[2] == "" {
						problems = append(problems, f.at(literal.Pos(), "%s: speak of what it is for; whoever imports the package has no such variable", name))
					}
				}
				return true
			})
		}
		return problems, checked
	},
	bad: map[string]string{
		"cmd/worker/main.go": "package main\nvar a, b = os.Getenv(\"REDIS_URL\"), os.Getenv(\"GIT_PATH\")\n",
		"jobs/jobs.go":       "package jobs\n// REDIS_URL is named.\nvar a, b = \"GIT_PATH=/\", \"set REDIS_URL, or NOT_READ\"\n",
		"jobs/jobs_test.go":  "package jobs\nvar c = \"REDIS_URL\"\n",
	},
	want: []string{"jobs/jobs.go:3: REDIS_URL: "},
}

var (
	phony      = regexp.MustCompile(`(?m)^\.PHONY: (.*)$`)
	helpTarget = regexp.MustCompile(`(?m)^([a-z-]+):.*## \S`)
)

var makeHelp = rule{
	name: "every make target says what it does",
	check: func(t tree) (problems []string, checked int) {
		makefile := t.find("Makefile")
		if makefile == nil {
			return []string{"Makefile: there is none"}, 0
		}
		helped := map[string]bool{}
		for _, match := range helpTarget.FindAllStringSubmatch(makefile.text, -1) {
			helped[match[1]] = true
		}
		for _, match := range phony.FindAllStringSubmatch(makefile.text, -1) {
			for target := range strings.FieldsSeq(match[1]) {
				checked++
				if !helped[target] {
					problems = append(problems, fmt.Sprintf("Makefile: %s has no ## help", target))
				}
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		"Makefile": ".PHONY: a b c\na: ## do a\n\ttrue\nb:\n\ttrue\nc: a b ##\n",
	},
	want: []string{"b has no", "c has no"},
}

var lintReasons = rule{
	name: "every linter's rule that is off says why",
	check: func(t tree) (problems []string, checked int) {
		config := t.find(".golangci.yml")
		if config == nil {
			return []string{".golangci.yml: there is none"}, 0
		}
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(config.text), &root); err != nil {
			return []string{".golangci.yml: " + err.Error()}, 0
		}
		eachOff(&root, func(node *yaml.Node, explained bool) {
			checked++
			if !explained {
				problems = append(problems, fmt.Sprintf(".golangci.yml:%d: %q: no reason beside it", node.Line, node.Value))
			}
		})
		return problems, checked
	},
	bad: map[string]string{
		".golangci.yml": `linters:
  enable:
    - errcheck
  settings:
    govet:
      disable:
        - shadow # idiomatic
        - fieldalignment
    gocritic:
      disabled-checks: [hugeParam]
    staticcheck:
      checks:
        - all
        - -ST1000 # another linter's
        - -ST1003
    errcheck:
      exclude-functions:
        - fmt.Print
        # The terminal is gone.
        - fmt.Fprint
        - fmt.Fprintf
    revive:
      rules:
        - name: exported
          disabled: true
  exclusions:
    rules:
      # It ends anyway.
      - path: a
      - path: b
`,
	},
	want: []string{".golangci.yml:8: ", ".golangci.yml:10: ", ".golangci.yml:15: ", ".golangci.yml:18: ", ".golangci.yml:25: ", ".golangci.yml:30: "},
}

// eachOff visits what a linter's configuration turns off, and tells whether a
// comment explains it: at the end of its line, or above it. A comment above one
// item of a list is for those that follow, too.
func eachOff(node *yaml.Node, visit func(node *yaml.Node, explained bool)) {
	for i, child := range node.Content {
		eachOff(child, visit)
		if node.Kind != yaml.MappingNode || i%2 == 0 {
			continue
		}
		key := node.Content[i-1]
		switch key.Value {
		case "exclusions":
			eachExclusion(child, visit)
		case "disabled":
			visit(child, child.LineComment != "")
		case "disable", "disabled-checks", "exclude-functions", "checks":
			above := false
			for _, item := range child.Content {
				above = above || item.HeadComment != ""
				if key.Value != "checks" || strings.HasPrefix(item.Value, "-") {
					visit(item, above || item.LineComment != "")
				}
			}
		}
	}
}

// eachExclusion visits the rules that keep a linter out of some files.
func eachExclusion(exclusions *yaml.Node, visit func(node *yaml.Node, explained bool)) {
	for i := 1; i < len(exclusions.Content); i += 2 {
		if exclusions.Content[i-1].Value != "rules" {
			continue
		}
		for _, rule := range exclusions.Content[i].Content {
			visit(rule, rule.HeadComment != "")
		}
	}
}

const dockerfile = "deploy/Dockerfile"

var (
	goLine     = regexp.MustCompile(`(?m)^go (\d+\.\d+)`)
	goImage    = regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)`)
	embedLine  = regexp.MustCompile(`(?m)^//go:embed (.*)$`)
	ignoreFile = dockerfile + ".dockerignore"
)

var goVersion = rule{
	name: "the image and the tools are built with the module's Go",
	check: func(t tree) (problems []string, checked int) {
		want := firstMatch(t, "go.mod", goLine)
		for name, pattern := range map[string]*regexp.Regexp{dockerfile: goImage, "tools/go.mod": goLine} {
			checked++
			if got := firstMatch(t, name, pattern); got != want || got == "" {
				problems = append(problems, fmt.Sprintf("%s: Go %q, want %q as in go.mod", name, got, want))
			}
		}
		slices.Sort(problems)
		return problems, checked
	},
	bad: map[string]string{
		"go.mod":   "module casq\n\ngo 1.26.0\n",
		dockerfile: "FROM golang:1.25-bookworm AS build\n",
	},
	want: []string{"deploy/Dockerfile: Go \"1.25\"", "tools/go.mod: Go \"\""},
}

var embeddedFiles = rule{
	name: "what is embedded gets into the image's build",
	check: func(t tree) (problems []string, checked int) {
		ignore := t.find(ignoreFile)
		if ignore == nil {
			return []string{ignoreFile + ": there is none"}, 0
		}
		for _, f := range t.code(false) {
			for _, match := range embedLine.FindAllStringSubmatch(f.text, -1) {
				for pattern := range strings.FieldsSeq(match[1]) {
					checked++
					if ext := path.Ext(pattern); !slices.Contains(strings.Fields(ignore.text), "!**/*"+ext) {
						problems = append(problems, fmt.Sprintf("%s: embeds %s, which %s keeps out", f.path, pattern, ignoreFile))
					}
				}
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		ignoreFile: "*\n!**/*.sql\n",
		"a/a.go":   "package a\n\n//go:embed *.sql take.lua\nvar x string\n",
	},
	want: []string{"a/a.go: embeds take.lua"},
}

// firstMatch is the first group of the pattern in a file; "" without one.
func firstMatch(t tree, name string, pattern *regexp.Regexp) string {
	f := t.find(name)
	if f == nil {
		return ""
	}
	match := pattern.FindStringSubmatch(f.text)
	if match == nil {
		return ""
	}
	return match[1]
}

func sorted[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
