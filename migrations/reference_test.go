package migrations_test

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
)

const referenceFile = "../docs/sql.md"

//go:embed testdata/reference.sql
var referenceSQL string

// described is an object of the schema that has a comment, or a column of one.
type described struct {
	Section string
	Name    string
	Column  string // empty: the object itself
	Type    string // of the column, or what a function returns
	Told    string
}

// docs/sql.md is for those who use the schema; what psql's \d+ and \df+ tell of it is the same.
func TestReference(t *testing.T) {
	t.Parallel()
	got := reference(describedObjects(t))
	if *update {
		must(t, os.WriteFile(referenceFile, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(referenceFile)
	must(t, err)
	if string(want) != got {
		t.Errorf("%s is not what the comments say; write it anew: go test ./migrations -run TestReference -update", referenceFile)
		same(t, referenceFile, got, string(want))
	}
}

// Whatever a user's text names is in the reference, and so is each view: views are made
// for people. Two texts are for casq's developers.
func TestWhatIsNamedIsDescribed(t *testing.T) {
	t.Parallel()
	objects := describedObjects(t)
	known := func(name string) bool {
		return slices.ContainsFunc(objects, func(d described) bool {
			return d.Column == "" && (d.Name == name || strings.HasPrefix(d.Name, name+"("))
		})
	}
	for _, view := range views(t) {
		if !known(view) {
			t.Errorf("view %s has no comment", view)
		}
	}
	for file, names := range namedObjects(t) {
		for _, name := range names {
			if !known(name) {
				t.Errorf("%s names %s, which has no comment", file, name)
			}
		}
	}
}

// Of views each column is described: tables are read less, and their names tell more.
func TestColumnsOfViewsAreDescribed(t *testing.T) {
	t.Parallel()
	for _, d := range describedObjects(t) {
		if d.Section == "Views" && d.Told == "" {
			t.Errorf("column %s of %s has no comment", d.Column, d.Name)
		}
	}
}

func describedObjects(t *testing.T) []described {
	t.Helper()
	rows, err := testdb.New(t).Pool(t).Query(t.Context(), referenceSQL)
	must(t, err)
	objects, err := pgx.CollectRows(rows, pgx.RowToStructByPos[described])
	must(t, err)
	return objects
}

func views(t *testing.T) []string {
	t.Helper()
	rows, err := testdb.New(t).Pool(t).Query(t.Context(),
		"SELECT 'casq.' || relname FROM pg_class WHERE relnamespace = 'casq'::regnamespace AND relkind = 'v'")
	must(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return names
}

var objectName = regexp.MustCompile(`\bcasq\.[a-z_]+\b`)

// namedObjects is what the user's texts name, by file.
func namedObjects(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	must(t, err)
	named := make(map[string][]string)
	for _, file := range append(files, "../README.md") {
		if slices.Contains([]string{"architecture.md", "published.md"}, filepath.Base(file)) {
			continue
		}
		text, err := os.ReadFile(file)
		must(t, err)
		names := objectName.FindAllString(string(text), -1)
		slices.Sort(names)
		named[file] = slices.Compact(names)
	}
	return named
}

func reference(objects []described) string {
	var out strings.Builder
	out.WriteString("# SQL reference\n\n" +
		"What applications and operators call and read in the schema `casq`: each object that has a comment\n" +
		"(`\\df+ casq.*` and `\\d+ casq.*` in psql show the same). What else is there is casq's own, and changes.\n" +
		"Which role may do what: `casq.grant_to`. Errors are named by Postgres' condition names.\n\n" +
		"Made from the comments of the migrations: `go test ./migrations -run TestReference -update`.\n")
	section := ""
	for i, d := range objects {
		if d.Section != section {
			section = d.Section
			fmt.Fprintf(&out, "\n## %s\n", section)
		}
		if d.Column != "" {
			if i == 0 || objects[i-1].Column == "" {
				out.WriteString("\n| column | type | |\n|---|---|---|\n")
			}
			fmt.Fprintf(&out, "| `%s` | `%s` | %s |\n", d.Column, d.Type, d.Told)
			continue
		}
		name, arguments, isFunction := strings.Cut(d.Name, "(")
		fmt.Fprintf(&out, "\n### `%s`\n\n", name)
		if isFunction {
			fmt.Fprintf(&out, "```sql\n%s\n```\n\n", signature(name, strings.TrimSuffix(arguments, ")"), d.Type))
		}
		out.WriteString(d.Told + "\n")
	}
	return out.String()
}

// literalType is what Postgres adds to a literal to say what it is; it stands before it, too.
var literalType = regexp.MustCompile(`((?:'[^']*'|NULL))::[a-z]+(?:\[\])?`)

// signature is a function's, with a line for each argument where it would be long.
func signature(name, arguments, result string) string {
	arguments = literalType.ReplaceAllString(arguments, "$1")
	if result != "" {
		result = " RETURNS " + result
	}
	if one := name + "(" + arguments + ")" + result; arguments == "" || len(one) <= 100 {
		return one
	}
	return name + "(\n    " + strings.ReplaceAll(arguments, ", ", ",\n    ") + "\n)" + result
}
