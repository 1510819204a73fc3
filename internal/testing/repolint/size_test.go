package repolint

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
)

// The limits. The medians are of what runs, and so are the functions: a test
// that tells a story may be long.
const (
	longestFile      = 700
	longestMain      = 25
	medianFile       = 150
	medianFunction   = 12
	functionNinetyth = 40
)

// longFiles may be longer than longestFile, each with its reason.
var longFiles = map[string]string{
	"migrations/schema.sql": "it is made from a database, and read, object by object",
}

var fileLength = rule{
	name: "no file is too long to be read",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.files {
			switch path.Ext(f.path) {
			case ".go", ".sql", ".lua", ".sh":
			default:
				continue
			}
			checked++
			if f.lines() > longestFile && longFiles[f.path] == "" {
				problems = append(problems, fmt.Sprintf("%s: %d lines, more than %d", f.path, f.lines(), longestFile))
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		"a/a.sql": strings.Repeat("--\n", longestFile+1),
		"a/b.sql": strings.Repeat("--\n", longestFile),
		"a/c.md":  strings.Repeat("-\n", longestFile+1),
	},
	want: []string{"a/a.sql: 701 lines"},
}

// mostFiles is how many files a folder may have beside its tests: one thought.
const mostFiles = 30

// largeFolders may have more, each with its reason.
var largeFolders = map[string]string{
	"internal/programs/chaos": "a fault and a check a file; they are read one by one",
}

var folderSize = rule{
	name: "a folder is one thought",
	check: func(t tree) (problems []string, checked int) {
		count := make(map[string]int)
		for _, f := range t.files {
			switch path.Ext(f.path) {
			case ".go", ".sql", ".lua", ".sh":
				if !f.isTest() {
					count[f.dir()]++
				}
			}
		}
		for _, dir := range slices.Sorted(maps.Keys(count)) {
			checked++
			switch {
			case count[dir] > mostFiles && largeFolders[dir] == "":
				problems = append(problems, fmt.Sprintf("%s: %d files beside its tests, more than %d: which two thoughts are in it?", dir, count[dir], mostFiles))
			case count[dir] <= mostFiles && largeFolders[dir] != "":
				problems = append(problems, fmt.Sprintf("%s: %d files beside its tests: it needs no exception any more", dir, count[dir]))
			}
		}
		return problems, checked
	},
	bad:  manyFiles(),
	want: []string{"a: 31 files", "internal/programs/chaos: 1 files"},
}

// manyFiles are a folder with one file too many, one with just enough, and one that
// is small again.
func manyFiles() map[string]string {
	files := map[string]string{"internal/programs/chaos/chaos.go": "package chaos\n"}
	for i := range mostFiles {
		files[fmt.Sprintf("a/a%d.go", i)] = "package a\n"
		files[fmt.Sprintf("b/b%d.go", i)] = "package b\n"
		files[fmt.Sprintf("b/b%d_test.go", i)] = "package b\n"
	}
	files["a/a.sql"] = "SELECT 1\n"
	return files
}

var mainLength = rule{
	name: "main only wires",
	check: func(t tree) (problems []string, checked int) {
		eachFunction(t, func(f file, fn *ast.FuncDecl, lines int) {
			if f.ast.Name.Name != "main" || fn.Name.Name != "main" || fn.Recv != nil {
				return
			}
			checked++
			if lines > longestMain {
				problems = append(problems, f.at(fn.Pos(), "main has %d lines, more than %d", lines, longestMain))
			}
		})
		return problems, checked
	},
	bad: map[string]string{
		"cmd/a/main.go": "package main\nfunc main() {\n" + strings.Repeat("\n", longestMain-2) + "}\n",
		"cmd/b/main.go": "package main\nfunc main() {\n" + strings.Repeat("\n", longestMain-1) + "}\n",
	},
	want: []string{"cmd/b/main.go:2: main has 26 lines"},
}

var medians = rule{
	name: "files and functions are small as a rule",
	check: func(t tree) (problems []string, checked int) {
		var files, functions []int
		for _, f := range t.code(false) {
			files = append(files, f.lines())
		}
		eachFunction(t, func(_ file, _ *ast.FuncDecl, lines int) { functions = append(functions, lines) })
		if got := percentile(files, 50); got > medianFile {
			problems = append(problems, fmt.Sprintf("the median file has %d lines, more than %d", got, medianFile))
		}
		if got := percentile(functions, 50); got > medianFunction {
			problems = append(problems, fmt.Sprintf("the median function has %d lines, more than %d", got, medianFunction))
		}
		if got := percentile(functions, 90); got > functionNinetyth {
			problems = append(problems, fmt.Sprintf("one function in ten has %d lines or more, more than %d", got, functionNinetyth))
		}
		return problems, len(files) + len(functions)
	},
	bad: map[string]string{
		"a/a.go":      "package a\nfunc a() {\n" + strings.Repeat("\n", 160) + "}\n",
		"a/b_test.go": "package a\nfunc b() {}\nfunc c() {}\n",
	},
	want: []string{"the median file has 163", "the median function has 162", "one function in ten has 162"},
}

// eachFunction visits the functions of everything but tests, with the lines
// from "func" to the closing brace.
func eachFunction(t tree, visit func(f file, fn *ast.FuncDecl, lines int)) {
	for _, f := range t.code(false) {
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				visit(f, fn, f.fset.Position(fn.End()).Line-f.fset.Position(fn.Pos()).Line+1)
			}
		}
	}
}

// percentile is the smallest value that p percent of all do not exceed; 0 of
// none.
func percentile(values []int, p int) int {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[max(0, (len(values)*p+99)/100-1)]
}
