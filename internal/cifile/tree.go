package cifile

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// tree is the files that rules:exists asks for, which are listed once.
type tree struct {
	fsys   fs.FS // nil: none
	listed bool
	names  [][]string
}

// list lists the files. What cannot be read is not there.
func (t *tree) list() error {
	if t.listed || t.fsys == nil {
		return nil
	}
	t.listed = true
	return fs.WalkDir(t.fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case name == ".git":
			return fs.SkipDir
		case err == nil && !entry.IsDir():
			t.names = append(t.names, strings.Split(name, "/"))
		}
		return nil
	})
}

// has tells whether any of the patterns has a file. ** is any number of folders.
func (t *tree) has(patterns []string, e environment) (bool, error) {
	if err := t.list(); err != nil {
		return false, err
	}
	for _, text := range patterns {
		p := strings.TrimPrefix(e.expand(Variable{Value: text}, 0), "./")
		if _, err := path.Match(p, ""); err != nil {
			return false, fmt.Errorf("%q is no pattern of files", text)
		}
		parts := strings.Split(p, "/")
		for _, name := range t.names {
			if globbed(parts, name) {
				return true, nil
			}
		}
	}
	return false, nil
}

// globbed matches a path with a pattern, part by part. at are the parts of the pattern that
// may be next.
func globbed(pattern, name []string) bool {
	at := make([]bool, len(pattern)+1)
	at[0] = true
	skipFolders(pattern, at)
	for _, part := range name {
		next := make([]bool, len(pattern)+1)
		for i, p := range pattern {
			switch matched, err := path.Match(p, part); {
			case !at[i]:
			case p == "**":
				next[i] = true
			case err == nil && matched:
				next[i+1] = true
			}
		}
		at = next
		skipFolders(pattern, at)
	}
	return at[len(pattern)]
}

// skipFolders lets ** be no folder.
func skipFolders(pattern []string, at []bool) {
	for i, p := range pattern {
		if at[i] && p == "**" {
			at[i+1] = true
		}
	}
}
