package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// race is one top-level test. An id may have several: one for each case.
type race struct {
	dir   string // its folder: that of the races, or one below it
	id    string // R01
	test  string // TestR01UpdateUpdate
	title string // first sentence of the test's doc comment
}

var testName = regexp.MustCompile(`^Test(R\d{2,3})(\D.*)?$`)

// findRaces reads the races from the test files of a folder, and of those in it, in the
// order of their ids.
func findRaces(dir string) ([]race, error) {
	here, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	below, belowErr := filepath.Glob(filepath.Join(dir, "*", "*_test.go"))
	if err = errors.Join(err, belowErr); err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var races []race
	for _, file := range append(here, below...) {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse race: %w", err)
		}
		for _, decl := range tree.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			if match := testName.FindStringSubmatch(fn.Name.Name); match != nil {
				races = append(races, race{dir: filepath.Dir(file), id: match[1], test: fn.Name.Name, title: title(fn)})
			}
		}
	}
	slices.SortFunc(races, func(a, b race) int {
		return strings.Compare(a.id+a.test, b.id+b.test)
	})
	return races, nil
}

// title is the first sentence of the doc comment, without the function's name,
// and without a full stop; the name itself where there is no comment.
func title(fn *ast.FuncDecl) string {
	text := new(doc.Package).Synopsis(fn.Doc.Text())
	text = strings.TrimPrefix(text, fn.Name.Name)
	text = strings.TrimSuffix(strings.TrimLeft(text, " :"), ".")
	if text == "" {
		return fn.Name.Name
	}
	return text
}

// groups are the problems that the races belong to, as ranges of their ids: the
// first two digits of a problem, and what was found later.
var groups = map[string][]span{
	"S0": {{1, 19}, {110, 111}, {130, 142}},
	"S1": {{20, 39}},
	"S2": {{40, 59}, {120, 124}},
	"S3": {{60, 79}, {112, 115}},
	"S4": {{80, 99}},
}

// span is a range of ids, both included.
type span struct{ first, last int }

func (r race) in(spans []span) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(r.id, "R"))
	return err == nil && slices.ContainsFunc(spans, func(s span) bool { return s.first <= n && n <= s.last })
}

// choose keeps the races that a comma-separated list of ids and groups names;
// all of them when it is empty.
func choose(races []race, want string) ([]race, error) {
	if want == "" {
		if len(races) == 0 {
			return nil, fmt.Errorf("find races: there are none; is this the repository's root?")
		}
		return races, nil
	}
	chosen := map[string]bool{}
	for name := range strings.SplitSeq(want, ",") {
		name = strings.ToUpper(strings.TrimSpace(name))
		group := groups[name]
		found := false
		for _, r := range races {
			if r.id == name || r.in(group) {
				chosen[r.test], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("find race %q: give an id such as R01, or a group from S0 to S4, that has a test", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(races), func(r race) bool { return !chosen[r.test] }), nil
}

// folders are those of the races, each once.
func folders(races []race) (dirs []string) {
	for _, r := range races {
		if !slices.Contains(dirs, r.dir) {
			dirs = append(dirs, r.dir)
		}
	}
	return dirs
}

// pattern makes go test run exactly these races.
func pattern(races []race) string {
	names := make([]string, len(races))
	for i, r := range races {
		names[i] = regexp.QuoteMeta(r.test)
	}
	return "^(" + strings.Join(names, "|") + ")$"
}
