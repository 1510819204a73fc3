package repolint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "casq"

// tree is a repository's text files.
type tree struct {
	files []file
}

type file struct {
	path string // from the root, with slashes
	text string

	// Of Go files only.
	ast  *ast.File
	fset *token.FileSet
}

// repository is the tree that the rules are for.
var repository = sync.OnceValues(func() (tree, error) {
	root, err := root()
	if err != nil {
		return tree{}, err
	}
	return load(os.DirFS(root))
})

// root is the nearest folder above the test's own that has a go.mod.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working folder: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find go.mod: not in any folder above the test's")
		}
		dir = parent
	}
}

// skipped are folders that nobody of us writes by hand.
var skipped = []string{".git", "bin", "testdata", "node_modules", ".idea", ".vscode"}

func load(fsys fs.FS) (tree, error) {
	var t tree
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(skipped, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || slices.Contains(skipped, path.Base(name)) || path.Base(name) == ".env" || path.Base(name) == "go.sum" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil || bytes.ContainsRune(text, 0) {
			return err
		}
		f := file{path: name, text: string(text)}
		if strings.HasSuffix(name, ".go") {
			f.fset = token.NewFileSet()
			f.ast, err = parser.ParseFile(f.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		}
		t.files = append(t.files, f)
		return err
	})
	if err != nil {
		return tree{}, fmt.Errorf("read the tree: %w", err)
	}
	return t, nil
}

// find returns the file of that path, or nil.
func (t tree) find(name string) *file {
	for i := range t.files {
		if t.files[i].path == name {
			return &t.files[i]
		}
	}
	return nil
}

// code returns the Go files that people write, with or without those of tests.
func (t tree) code(withTests bool) []file {
	var files []file
	for _, f := range t.files {
		if f.ast != nil && !ast.IsGenerated(f.ast) && (withTests || !f.isTest()) {
			files = append(files, f)
		}
	}
	return files
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f file) dir() string { return path.Dir(f.path) }

// importPath is how others would import the file's package.
func (f file) importPath() string { return path.Join(module, f.dir()) }

func (f file) within(dir string) bool {
	return f.path == dir || strings.HasPrefix(f.path, strings.TrimSuffix(dir, "/")+"/")
}

func (f file) lines() int { return strings.Count(f.text, "\n") }

// at prefixes a problem with its place.
func (f file) at(pos token.Pos, format string, args ...any) string {
	p := f.fset.Position(pos)
	return fmt.Sprintf("%s:%d: ", f.path, p.Line) + fmt.Sprintf(format, args...)
}

// calls yields every call of pkg.name, by the name under which pkg is imported
// as a rule, together with the function declaration that it stands in.
func (f file) calls(yield func(fn *ast.FuncDecl, call *ast.CallExpr, pkg, name string)) {
	for _, decl := range f.ast.Decls {
		fn, _ := decl.(*ast.FuncDecl)
		ast.Inspect(decl, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch fun := call.Fun.(type) {
			case *ast.SelectorExpr:
				if pkg, ok := fun.X.(*ast.Ident); ok {
					yield(fn, call, pkg.Name, fun.Sel.Name)
				} else {
					yield(fn, call, "", fun.Sel.Name)
				}
			case *ast.Ident:
				yield(fn, call, "", fun.Name)
			}
			return true
		})
	}
}

// need fails the test when the repository cannot be read.
func need(t *testing.T) tree {
	t.Helper()
	repo, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	return repo
}
