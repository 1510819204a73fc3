package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tree is what lies in a folder of files.
type tree struct {
	files map[string]string // SHA-256 by path
	// empty are folders without a file below, strange what is neither file
	// nor folder.
	empty, strange []string
}

func readTree(root string) (*tree, error) {
	t := &tree{files: make(map[string]string)}
	filled := make(map[string]bool) // folders: is there a file below?
	err := walk(root, func(path string, entry fs.DirEntry) error {
		if entry.IsDir() {
			filled[path] = filled[path] || false
			return nil
		}
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			filled[dir] = true
		}
		if !entry.Type().IsRegular() {
			t.strange = append(t.strange, path)
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		hash := sha256.Sum256(content)
		t.files[path] = hex.EncodeToString(hash[:])
		return err
	})
	for dir, has := range filled {
		if !has {
			t.empty = append(t.empty, dir)
		}
	}
	return t, err
}

// checkApplication compares the application's folders with its tables. What it
// finds is a mistake of the application here, and not of what is tested.
func checkApplication(ctx context.Context, c *chaos) (found []violation, err error) {
	sums, refs, err := c.writer.rows(ctx, allFiles(), allRepositories())
	if err != nil {
		return nil, err
	}
	source, err := readTree(c.work.path(sourceFiles))
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(source.files, func(path, _ string) bool { return ofBuilds(path) })
	if !maps.Equal(source.files, sums) {
		found = append(found, violation{text: fmt.Sprintf("the application's files are not what its table says: %v, %v", source.files, sums)})
	}
	for _, path := range allRepositories() {
		have, err := c.writer.repos.refs(ctx, c.work.path(sourceRepositories, path))
		if err != nil {
			have = nil
		}
		if !maps.Equal(have, refs[path]) {
			found = append(found, violation{text: fmt.Sprintf("the application's repository %s is not what its row says", path)})
		}
	}
	return found, nil
}

// ofBuilds tells whether a file in the first site's folder is one that a build has left.
func ofBuilds(path string) bool {
	return strings.HasPrefix(path, "builds/") || strings.HasPrefix(path, ".staging/")
}

// wantedFiles are the SHA-256 of what the second site has to have: the application's
// files, and of those that builds have left what has a row, as the row has it.
func (c *chaos) wantedFiles(ctx context.Context) (map[string]string, error) {
	source, err := readTree(c.work.path(sourceFiles))
	if err != nil {
		return nil, err
	}
	left, err := c.farm.Files(ctx)
	wanted := make(map[string]string)
	for path, sum := range source.files {
		if !ofBuilds(path) {
			wanted[kindArtifact+"/"+path] = sum
		}
	}
	for key, sum := range left {
		wanted[kindBuilt+"/"+key] = sum
	}
	return wanted, err
}

// checkFiles compares all files of both sites by content.
func checkFiles(ctx context.Context, c *chaos) (found []violation, err error) {
	wanted, err := c.wantedFiles(ctx)
	if err != nil {
		return nil, err
	}
	target, err := readTree(c.work.path(targetFiles))
	if err != nil {
		return nil, err
	}
	complain := func(path, format string, args ...any) {
		kind, key, _ := strings.Cut(path, "/")
		found = append(found, violation{fmt.Sprintf("file %s: ", path) + fmt.Sprintf(format, args...), kind, key})
	}
	for path, sum := range wanted {
		have, there := target.files[path]
		switch {
		case !there:
			complain(path, "missing at the second site")
		case have != sum:
			complain(path, "is %.12s at the second site, want %.12s", have, sum)
		}
	}
	for path := range target.files {
		if _, there := wanted[path]; !there {
			complain(path, "only at the second site")
		}
	}
	for _, path := range target.strange {
		complain(path, "neither file nor folder, at the second site")
	}
	for _, path := range target.empty {
		complain(path, "an empty folder at the second site")
	}
	slices.SortFunc(found, func(a, b violation) int { return strings.Compare(a.text, b.text) })
	return found, nil
}

// checkStaging finds what is left of runs: all but the mark, and the rooms that are empty.
func checkStaging(_ context.Context, c *chaos) (found []violation, err error) {
	for _, target := range []string{targetFiles, targetRepositories} {
		root := c.work.path(target, stagingFolder)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			room := err == nil && entry.IsDir() && filepath.Dir(path) == root && len(entry.Name()) == 2
			if path != root && err == nil && !room && !isMark(path) {
				found = append(found, violation{text: fmt.Sprintf("staging is left over: %s", strings.TrimPrefix(path, c.work.dir+"/"))})
			}
			if err != nil && !absent(err) {
				return err
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
