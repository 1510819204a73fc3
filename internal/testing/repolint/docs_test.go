package repolint

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"strings"
)

var namedTest = regexp.MustCompile("`(Test[A-Z][A-Za-z]*)`")

var guardsAreTested = rule{
	name: "the tests that docs name are there",
	check: func(t tree) (problems []string, checked int) {
		there := map[string]bool{}
		for _, f := range t.code(true) {
			for _, decl := range f.ast.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok {
					there[fn.Name.Name] = true
				}
			}
		}
		for _, f := range t.files {
			if !strings.HasPrefix(f.path, "docs/") || path.Ext(f.path) != ".md" {
				continue
			}
			for _, match := range namedTest.FindAllStringSubmatch(f.text, -1) {
				checked++
				if !there[match[1]] {
					problems = append(problems, fmt.Sprintf("%s: there is no %s", f.path, match[1]))
				}
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		"docs/a.md":     "`TestA`, `TestB`, `TestTable`",
		"a/a_test.go":   "package a\nfunc TestA() {}\nvar TestTable = 1\n",
		"docs/b.go":     "package docs // `TestC`\n",
		"other/docs.md": "`TestD`",
	},
	want: []string{"no TestB", "no TestTable"},
}
