package repolint

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var environment = rule{
	name: "the environment is read in cmd only",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.code(true) {
			checked++
			if f.within("cmd") {
				continue
			}
			f.calls(func(_ *ast.FuncDecl, call *ast.CallExpr, pkg, name string) {
				if (pkg != "os" && pkg != "syscall") || !readsEnvironment[name] || testVariable(t, f, call) {
					return
				}
				problems = append(problems, f.at(call.Pos(),
					"%s.%s: take the value as a parameter; a child process gets (*exec.Cmd).Environ", pkg, name))
			})
		}
		return problems, checked
	},
	bad: map[string]string{
		"cmd/worker/main.go": "package main\nimport \"os\"\nvar x = os.Getenv(\"HOME\")\n",
		"jobs/jobs.go":       "package jobs\nimport \"os\"\nvar x = os.Getenv(\"HOME\")\nvar y = os.Environ()\nvar z = os.Getenv(\"CASQ_TEST_X\")\n",
		"internal/x/x.go":    "package x\nimport \"os\"\nvar z = os.Getenv(\"CASQ_TEST_X\")\nvar y = os.Getenv(name)\nvar x = os.Getenv(other)\n",
		"internal/x/y.go":    "package x\nconst name, other = \"CASQ_TEST_X\", \"PATH\"\n",
		"jobs/a_test.go":     "package jobs\nimport \"os\"\nfunc f() { os.LookupEnv(\"CASQ_TEST_X\"); os.LookupEnv(\"DATABASE_URL\") }\n",
	},
	want: []string{"internal/x/x.go:5: os.Getenv", "jobs/a_test.go:3: os.LookupEnv", "jobs/jobs.go:3: os.Getenv", "jobs/jobs.go:4: os.Environ", "jobs/jobs.go:5: os.Getenv"},
}

var readsEnvironment = map[string]bool{"Getenv": true, "LookupEnv": true, "Environ": true, "ExpandEnv": true}

// testVariable tells whether a test, or what tests are built on, asks for a
// variable that exists for tests alone.
func testVariable(t tree, f file, call *ast.CallExpr) bool {
	if !f.isTest() && !f.within("internal") {
		return false
	}
	return len(call.Args) > 0 && strings.HasPrefix(t.constant(f, call.Args[0]), "CASQ_TEST_")
}

// testHarness starts the servers of the tests; its Main is their TestMain.
const testHarness = "internal/testing/testdb"

var exits = rule{
	name: "only main ends the process",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.code(true) {
			f.calls(func(fn *ast.FuncDecl, call *ast.CallExpr, pkg, name string) {
				checked++
				ends := (pkg == "os" && name == "Exit") || (pkg == "syscall" && name == "Exit") ||
					(pkg == "log" && (strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")))
				if ends && !mayExit(f, fn) {
					problems = append(problems, f.at(call.Pos(), "%s.%s: return an error", pkg, name))
				}
			})
		}
		return problems, checked
	},
	bad: map[string]string{
		"cmd/worker/main.go":     "package main\nimport \"os\"\nfunc main() { os.Exit(1) }\nfunc run() { os.Exit(1) }\n",
		"jobs/jobs.go":           "package jobs\nimport \"log\"\nfunc main() { log.Fatalf(\"\") }\n",
		"jobs/main_test.go":      "package jobs\nimport \"os\"\nfunc TestMain() { os.Exit(1) }\nfunc TestX() { os.Exit(1) }\n",
		"jobs/method/pretend.go": "package main\nimport \"os\"\ntype t int\nfunc (t) main() { os.Exit(1) }\n",
	},
	want: []string{"cmd/worker/main.go:4: ", "jobs/jobs.go:3: log.Fatalf", "jobs/main_test.go:4: ", "pretend.go:4: "},
}

// mayExit also lets the tests' common TestMain exit, as every TestMain may.
func mayExit(f file, fn *ast.FuncDecl) bool {
	if fn == nil || fn.Recv != nil {
		return false
	}
	if f.dir() == testHarness {
		return fn.Name.Name == "Main"
	}
	if f.isTest() {
		return fn.Name.Name == "TestMain"
	}
	return f.ast.Name.Name == "main" && fn.Name.Name == "main"
}

var sleeps = rule{
	name: "tests wait for something, not for a time",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.code(true) {
			if !f.isTest() {
				continue
			}
			checked++
			f.calls(func(_ *ast.FuncDecl, call *ast.CallExpr, pkg, name string) {
				if pkg == "time" && name == "Sleep" {
					problems = append(problems, f.at(call.Pos(), "time.Sleep: wait for a signal or a condition, with a deadline"))
				}
			})
		}
		return problems, checked
	},
	bad: map[string]string{
		"jobs/a_test.go": "package jobs\nimport \"time\"\nfunc TestX() { time.Sleep(1) }\n",
	},
	want: []string{"jobs/a_test.go:3: time.Sleep"},
}

var failedTo = rule{
	name: "an error is a verb phrase",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.code(true) {
			f.calls(func(_ *ast.FuncDecl, call *ast.CallExpr, pkg, name string) {
				if pkg+"."+name != "errors.New" && pkg+"."+name != "fmt.Errorf" || len(call.Args) == 0 {
					return
				}
				checked++
				text := stringValue(call.Args[0])
				if notVerbPhrase.MatchString(text) {
					problems = append(problems, f.at(call.Pos(), "%q: say what was done (\"renew lease: %%w\")", text))
				}
			})
		}
		return problems, checked
	},
	bad: map[string]string{
		"jobs/a.go": `package jobs
var a = fmt.Errorf("failed to renew: %w", err)
var b = errors.New("could not renew")
var c = fmt.Errorf("renew lease: %w", err)
var d = fmt.Errorf("error while renewing: %w", err)
`,
	},
	want: []string{"failed to renew", "could not renew", "error while renewing"},
}

var notVerbPhrase = regexp.MustCompile(`(?i)^(error|could not|couldn't|unable to)\b|\bfailed to\b`)

var rowsByHand = rule{
	name: "rows that are read by hand are asked for their error",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.code(true) {
			next, asked := map[*ast.FuncDecl]token.Pos{}, map[*ast.FuncDecl]bool{}
			f.calls(func(fn *ast.FuncDecl, call *ast.CallExpr, pkg, name string) {
				checked++
				if !strings.HasSuffix(strings.ToLower(pkg), "rows") {
					return
				}
				switch name {
				case "Next":
					next[fn] = call.Pos()
				case "Err":
					asked[fn] = true
				}
			})
			for fn, pos := range next {
				if !asked[fn] {
					problems = append(problems, f.at(pos, "no call of Err after Next: a connection lost in the middle looks like the end; pgx.ForEachRow checks"))
				}
			}
		}
		slices.Sort(problems)
		return problems, checked
	},
	bad: map[string]string{
		"jobs/a.go": "package jobs\nfunc a() { for rows.Next() {} }\nfunc b() { for rows.Next() {}; rows.Err() }\n",
	},
	want: []string{"jobs/a.go:2: "},
}

var leaks = rule{
	name: "every package with tests searches for leaked goroutines",
	check: func(t tree) (problems []string, checked int) {
		verified, order := map[string]bool{}, []string{}
		for _, f := range t.code(true) {
			if !f.isTest() {
				continue
			}
			if _, seen := verified[f.dir()]; !seen {
				order = append(order, f.dir())
				verified[f.dir()] = false
			}
			f.calls(func(fn *ast.FuncDecl, _ *ast.CallExpr, pkg, _ string) {
				if fn != nil && fn.Name.Name == "TestMain" && (pkg == "goleak" || pkg == path.Base(testHarness)) {
					verified[f.dir()] = true
				}
			})
		}
		for _, dir := range order {
			checked++
			if !verified[dir] {
				problems = append(problems, dir+": no test file has a TestMain that calls goleak or testdb.Main")
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		"jobs/a_test.go":  "package jobs\nfunc TestX() { goleak.Find() }\n",
		"races/b_test.go": "package races\nfunc TestMain() { goleak.VerifyTestMain(m) }\n",
	},
	want: []string{"jobs: no test file"},
}

// constant is the value of a string literal, or of a string constant of the
// file's package; "" for anything else.
func (t tree) constant(f file, expr ast.Expr) string {
	name, ok := expr.(*ast.Ident)
	if !ok {
		return stringValue(expr)
	}
	for _, other := range t.code(true) {
		if other.dir() != f.dir() {
			continue
		}
		for _, decl := range other.ast.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				if value := constantOf(spec, name.Name); value != "" {
					return value
				}
			}
		}
	}
	return ""
}

func constantOf(spec ast.Spec, name string) string {
	values, ok := spec.(*ast.ValueSpec)
	if !ok {
		return ""
	}
	for i, ident := range values.Names {
		if ident.Name == name && i < len(values.Values) {
			return stringValue(values.Values[i])
		}
	}
	return ""
}

// stringValue is the value of a string literal; "" for anything else.
func stringValue(expr ast.Expr) string {
	lit, ok := expr.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return text
}
