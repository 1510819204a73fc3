package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkRepositories compares all repositories of both sites, ref by ref, and
// looks whether all that the refs need is there.
func checkRepositories(ctx context.Context, c *chaos) (found []violation, err error) {
	source, target := c.work.path(sourceRepositories), c.work.path(targetRepositories)
	there, strange, err := repositoriesIn(target)
	if err != nil {
		return nil, err
	}
	for _, path := range strange {
		found = append(found, violation{text: fmt.Sprintf("%s: in no repository, at the second site", path)})
	}
	wanted, _, err := repositoriesIn(source)
	if err != nil {
		return nil, err
	}
	delete(wanted, pool)
	all := maps.Clone(there)
	maps.Copy(all, wanted)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		complain := func(text string) {
			found = append(found, violation{fmt.Sprintf("repository %s: %s", path, text), kindRepository, path})
		}
		switch {
		case !there[path]:
			complain("missing at the second site")
		case !wanted[path]:
			complain("only at the second site")
		default:
			if difference := c.compareRepository(ctx, filepath.Join(source, path), filepath.Join(target, path)); difference != "" {
				complain(difference)
			}
		}
	}
	return found, nil
}

// compareRepository says what is different; nothing: "".
func (c *chaos) compareRepository(ctx context.Context, source, target string) string {
	git := c.writer.repos
	want, err := git.refs(ctx, source)
	if err != nil {
		return err.Error()
	}
	have, err := git.refs(ctx, target)
	if err != nil {
		return err.Error()
	}
	if !maps.Equal(want, have) {
		return fmt.Sprintf("has %v, want %v", have, want)
	}
	wantHead, err := os.ReadFile(filepath.Join(source, "HEAD"))
	haveHead, haveErr := os.ReadFile(filepath.Join(target, "HEAD"))
	if err := errors.Join(err, haveErr); err != nil {
		return err.Error()
	}
	if strings.TrimSpace(string(wantHead)) != strings.TrimSpace(string(haveHead)) {
		return fmt.Sprintf("HEAD is %q, want %q", haveHead, wantHead)
	}
	// It reads each object, also those that no ref needs any more.
	if _, err := git.git(ctx, "", "--git-dir="+target, "fsck", "--full", "--no-dangling", "--no-reflogs", "--no-progress"); err != nil {
		return "objects are missing or damaged: " + err.Error()
	}
	return ""
}

// repositoriesIn returns the repositories below root by path, and what lies in
// none.
func repositoriesIn(root string) (found map[string]bool, strange []string, err error) {
	found = make(map[string]bool)
	filled := make(map[string]bool)
	err = walk(root, func(path string, entry fs.DirEntry) error {
		if entry.IsDir() && !isRepository(filepath.Join(root, path)) {
			filled[path] = false
			return nil
		}
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			filled[dir] = true
		}
		if !entry.IsDir() {
			strange = append(strange, path)
			return nil
		}
		found[path] = true
		return fs.SkipDir
	})
	for dir, has := range filled {
		if !has {
			strange = append(strange, dir)
		}
	}
	return found, strange, err
}

func isRepository(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "HEAD"))
	return err == nil
}
