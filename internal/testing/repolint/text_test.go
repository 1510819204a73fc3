package repolint

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

var packageDocs = rule{
	name: "every package has exactly one package comment",
	check: func(t tree) (problems []string, looked int) {
		documented, order := map[string][]string{}, []string{}
		hasCode := map[string]bool{}
		for _, f := range t.code(false) {
			hasCode[f.dir()] = true
		}
		for _, f := range t.code(true) {
			// A folder of tests alone has its comment there.
			if f.isTest() && hasCode[f.dir()] {
				continue
			}
			if _, seen := documented[f.dir()]; !seen {
				documented[f.dir()], order = nil, append(order, f.dir())
			}
			if text := f.ast.Doc.Text(); text != "" {
				documented[f.dir()] = append(documented[f.dir()], f.path)
				name := f.ast.Name.Name
				if name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
					problems = append(problems, f.at(f.ast.Package, "the package comment does not begin with \"Package %s\"", name))
				}
			}
		}
		for _, dir := range order {
			looked++
			if n := len(documented[dir]); n != 1 {
				problems = append(problems, fmt.Sprintf("%s: %d package comments %v, want one", dir, n, documented[dir]))
			}
		}
		return problems, looked
	},
	bad: map[string]string{
		"a/a.go":      "package a\n",
		"b/a.go":      "// Package b is one.\npackage b\n",
		"b/b.go":      "// Package b is two.\npackage b\n",
		"c/a_test.go": "package c\n",
		"d/a.go":      "// It does d.\npackage d\n",
		"e/a.go":      "// Package e has tests.\npackage e\n",
		"e/a_test.go": "// Package e is tested.\npackage e\n",
		"f/main.go":   "// F is a program.\npackage main\n",
	},
	want: []string{`d/a.go:2: the package comment does not begin with "Package d"`, "a: 0", "b: 2", "c: 0"},
}

// Written in pieces, since this file is looked at too.
var machinePath = regexp.MustCompile(`/(work|farm|root|Users)` + `/[A-Za-z]|/home` + `/[a-z]|\.\./` + `shared\b|\bdesign` + `\.md\b`)

var machinePaths = rule{
	name: "no file names a path of one machine",
	check: func(t tree) (problems []string, looked int) {
		return grep(t, machinePath, "a path that only one machine has")
	},
	bad: map[string]string{
		// As a linked work tree has it.
		".git":       "gitdir: /home" + "/me/casq/.git/worktrees/casq\n",
		"README.md":  "See registry/DESIGN.md.\nIt is in /home" + "/me/casq.\n",
		"cmd/a.sql":  "-- ../" + "shared/facts\n",
		"docs/a.txt": "cd /work" + "/main; the workroom/main\n",
	},
	want: []string{"README.md:2: ", "cmd/a.sql:1: ", "docs/a.txt:1: "},
}

// mayReadCursors are the folders whose statements may name the table: who owns it,
// what makes it, and what checks or shows it.
var mayReadCursors = []string{"internal/cursor", "migrations", "internal/programs", "internal/testing", "races", "docs"}

var cursorsTable = regexp.MustCompile(`(?i)\b(FROM|JOIN|INTO|UPDATE) casq\.cursors\b`)

var cursorRows = rule{
	name: "casq.cursors is read through internal/cursor only",
	check: func(t tree) (problems []string, looked int) {
		for _, f := range t.files {
			if f.isTest() || slices.ContainsFunc(mayReadCursors, f.within) || path.Ext(f.path) == ".md" {
				continue
			}
			looked++
			n := 0
			for line := range strings.Lines(f.text) {
				n++
				if cursorsTable.MatchString(line) {
					problems = append(problems, fmt.Sprintf("%s:%d: ask cursor.Position, or the view casq.cursor_status", f.path, n))
				}
			}
		}
		return problems, looked
	},
	bad: map[string]string{
		"internal/cursor/cursor.sql": "SELECT FROM casq.cursors\n",
		"jobs/jobs.sql":              "-- casq.cursors has more.\nSELECT name\nFROM casq.cursors AS c\n",
		"jobs/jobs.go":               "package jobs\nconst sql = `SELECT FROM casq.cursor_status`\n",
		"jobs/jobs_test.go":          "package jobs\nconst sql = `UPDATE casq.cursors SET tick = 1`\n",
	},
	want: []string{"jobs/jobs.sql:3: "},
}

var leftOpenMark = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

var leftOpen = rule{
	name: "nothing is left open in the tree",
	check: func(t tree) (problems []string, looked int) {
		return grep(t, leftOpenMark, "do it, or say in the changelog or in DESIGN.md what is missing")
	},
	bad: map[string]string{
		"a/a.go": "// Package a does it.\npackage a\n\n// TO" + "DO: do it.\n",
	},
	want: []string{"a/a.go:4: "},
}

// grep complains about every line that matches.
func grep(t tree, pattern *regexp.Regexp, complaint string) (problems []string, looked int) {
	for _, f := range t.files {
		looked++
		number := 0
		for line := range strings.Lines(f.text) {
			number++
			if match := pattern.FindString(line); match != "" {
				problems = append(problems, fmt.Sprintf("%s:%d: %q: %s", f.path, number, match, complaint))
			}
		}
	}
	return problems, looked
}

// emptyName says nothing about what is inside.
var emptyName = regexp.MustCompile(`^(utils?|common|helpers?|misc|base|shared|lib)(_test)?$`)

var emptyNames = rule{
	name: "a package is named after what it does",
	check: func(t tree) (problems []string, looked int) {
		for _, f := range t.code(true) {
			looked++
			if emptyName.MatchString(f.ast.Name.Name) {
				problems = append(problems, f.at(f.ast.Package, "package %s: name it after what it does", f.ast.Name.Name))
			}
		}
		return problems, looked
	},
	bad: map[string]string{
		"a/a.go": "package util\n",
		"b/b.go": "package utility\n",
	},
	want: []string{"a/a.go:1: package util"},
}

// raceTest is the name of a race's test function; the table program in
// races/table goes by the same.
var (
	raceTest = regexp.MustCompile(`^Test(R\d{2,3})(\D.*)?$`)
	raceRow  = regexp.MustCompile(`(?m)^\|\W*(R\d{2,3})\b`)
)

const raceReadme = "races/README.md"

var raceList = rule{
	name:  "the list of races is the list of their tests",
	needs: raceReadme,
	check: func(t tree) (problems []string, looked int) {
		tests := map[string]bool{}
		for _, f := range t.code(true) {
			if !f.isTest() || f.dir() != "races" {
				continue
			}
			for _, decl := range f.ast.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Recv != nil {
					continue
				}
				if match := raceTest.FindStringSubmatch(fn.Name.Name); match != nil {
					tests[match[1]] = true
				}
			}
		}
		rows := map[string]int{}
		if list := t.find(raceReadme); list != nil {
			for _, match := range raceRow.FindAllStringSubmatch(list.text, -1) {
				rows[match[1]]++
			}
		}
		for _, id := range sorted(tests) {
			looked++
			if rows[id] == 0 {
				problems = append(problems, fmt.Sprintf("%s: no row for %s, which has a test", raceReadme, id))
			}
		}
		for _, id := range sorted(rows) {
			looked++
			if !tests[id] {
				problems = append(problems, fmt.Sprintf("%s: a row for %s, but no test %s in races", raceReadme, id, "Test"+id))
			}
			if rows[id] > 1 {
				problems = append(problems, fmt.Sprintf("%s: %d rows for %s", raceReadme, rows[id], id))
			}
		}
		return problems, looked
	},
	bad: map[string]string{
		raceReadme:            "| id | race |\n|---|---|\n| R01 a | b |\n| **R02** | R05 |\n| `R02` | |\n",
		"races/r01_test.go":   "package races\nfunc TestR01UpdateUpdate() {}\n",
		"races/r03_test.go":   "package races\nfunc TestR03() {}\nfunc TestR0444() {}\n",
		"races/x/r02_test.go": "package x\nfunc TestR02() {}\n",
	},
	want: []string{"no row for R03", "a row for R02, but no test", "2 rows for R02"},
}
