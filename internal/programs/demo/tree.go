package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// hashing is how many files are read at once: two per CPU, so that one reads
// while the other adds up.
func hashing() int { return 2 * runtime.GOMAXPROCS(0) }

// readAll reads files below root. A file that cannot be read is left to
// unread, which returns nil to pass over it.
func readAll(ctx context.Context, root string, files []string, unread func(path string, err error) error) (map[string]content, error) {
	var mu sync.Mutex
	contents := make(map[string]content, len(files))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(hashing())
	for _, path := range files {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error {
			c, err := read(filepath.Join(root, filepath.FromSlash(path)))
			if err != nil {
				return unread(path, err)
			}
			mu.Lock()
			defer mu.Unlock()
			contents[path] = c
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return contents, context.Cause(ctx)
}

// tree is all that a site has in a folder.
type tree struct {
	files map[string]content
	// empty are folders without a file anywhere below, strange what is neither
	// file nor folder.
	empty, strange []string
}

// readTree reads a site's folder, except for the target's own staging, which
// has to be empty if it is there.
func readTree(ctx context.Context, root string) (*tree, error) {
	var files []string
	t := &tree{}
	folders := make(map[string]bool) // by path: is there a file below?
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil || rel == ".":
			return err
		case rel == staging && entry.IsDir():
			return fs.SkipDir
		case entry.IsDir():
			folders[rel] = false
		case !entry.Type().IsRegular():
			t.strange = append(t.strange, rel)
			fill(folders, rel)
		default:
			files = append(files, rel)
			fill(folders, rel)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", root, err)
	}
	for dir, filled := range folders {
		if !filled {
			t.empty = append(t.empty, dir)
		}
	}
	t.files, err = readAll(ctx, root, files, func(_ string, err error) error { return err })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", root, err)
	}
	return t, nil
}

// fill marks the folders above path.
func fill(folders map[string]bool, path string) {
	for dir := filepath.Dir(path); dir != "." && !folders[dir]; dir = filepath.Dir(dir) {
		folders[dir] = true
	}
}
