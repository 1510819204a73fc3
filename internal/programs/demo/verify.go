package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// verify compares both sites, and what was read with what it is now. It returns
// the differences, one line each.
func (d *demo) verify(ctx context.Context) ([]string, error) {
	var differences []string
	for _, check := range []func(context.Context) ([]string, error){
		d.compareFiles, d.compareRepositories, d.compareSource, d.compareCounters,
	} {
		found, err := check(ctx)
		if err != nil {
			return nil, err
		}
		differences = append(differences, found...)
	}
	return differences, d.count(ctx)
}

// compareFiles compares all files of both sites by content, and those of the
// primary with its rows.
func (d *demo) compareFiles(ctx context.Context) ([]string, error) {
	primary, err := readTree(ctx, d.places.primaryFiles)
	if err != nil {
		return nil, err
	}
	second, err := readTree(ctx, d.places.secondFiles)
	if err != nil {
		return nil, err
	}
	second.files = takeHome(second.files)
	rows, err := d.artifactRows(ctx)
	if err != nil {
		return nil, err
	}
	d.figures.countFiles(second.files)
	differences := compareContents(primary.files, second.files, "file %s: %s")
	for path, row := range rows {
		if file, there := primary.files[path]; !there || row != file.sha256() {
			differences = append(differences, fmt.Sprintf("file %s: the primary site's disk is not as its row says", quoteName(path)))
		}
	}
	for path := range primary.files {
		if _, there := rows[path]; !there {
			differences = append(differences, fmt.Sprintf("file %s: the primary site has no row for it", quoteName(path)))
		}
	}
	for _, path := range second.strange {
		differences = append(differences, fmt.Sprintf("file %s: neither file nor folder on the second site", quoteName(path)))
	}
	for _, path := range second.empty {
		differences = append(differences, fmt.Sprintf("folder %s: left empty on the second site", quoteName(path)))
	}
	return withStaging(differences, d.places.secondFiles)
}

// takeHome gives files the names that they have at the primary site: at the second one
// each kind has a folder.
func takeHome(second map[string]content) map[string]content {
	home := make(map[string]content, len(second))
	for path, c := range second {
		kind, key, _ := strings.Cut(path, "/")
		if kind != kindArtifact && kind != kindBuilt {
			key = path
		}
		home[key] = c
	}
	return home
}

// compareContents names what a and b, the primary and the second site, have
// differently.
func compareContents(primary, second map[string]content, format string) (differences []string) {
	for path, a := range primary {
		b, there := second[path]
		switch {
		case !there:
			differences = append(differences, fmt.Sprintf(format, quoteName(path), "missing on the second site"))
		case a != b:
			differences = append(differences, fmt.Sprintf(format, quoteName(path),
				fmt.Sprintf("%d bytes %.12s... on the primary site, %d bytes %.12s... on the second", a.size, a.sha256(), b.size, b.sha256())))
		}
	}
	for path := range second {
		if _, there := primary[path]; !there {
			differences = append(differences, fmt.Sprintf(format, quoteName(path), "only on the second site"))
		}
	}
	return differences
}

// withStaging adds what is left in a target's staging folder, whose rooms stay.
func withStaging(differences []string, target string) ([]string, error) {
	root := filepath.Join(target, staging)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		room := err == nil && entry.IsDir() && filepath.Dir(path) == root && len(entry.Name()) == 2
		if err != nil || path == root || room || path == filepath.Join(root, targetMark) {
			return err
		}
		name := filepath.Join(staging, strings.TrimPrefix(path, root))
		differences = append(differences, fmt.Sprintf("staging %s: left on the second site", quoteName(name)))
		if entry.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the second site's staging: %w", err)
	}
	slices.Sort(differences)
	return differences, nil
}

// artifactRows returns the SHA-256 of each artifact by path, as the primary's
// tables have it.
func (d *demo) artifactRows(ctx context.Context) (map[string]string, error) {
	rows, err := d.primary.DB.Query(ctx, `SELECT path, sha256 FROM artifacts
		UNION ALL SELECT key, encode(sha256, 'hex') FROM casq.artifacts`)
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	sums := make(map[string]string)
	var path, sum string
	_, err = pgx.ForEachRow(rows, []any{&path, &sum}, func() error {
		sums[path] = sum
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	return sums, nil
}

// compareRepositories compares all repositories of both sites, ref by ref, and
// checks that what the refs need is there.
func (d *demo) compareRepositories(ctx context.Context) ([]string, error) {
	primary, _, err := repositoriesIn(d.places.primaryRepositories)
	if err != nil {
		return nil, err
	}
	second, strange, err := repositoriesIn(d.places.secondRepositories)
	if err != nil {
		return nil, err
	}
	var differences []string
	for _, path := range strange {
		differences = append(differences, fmt.Sprintf("%s: in no repository, on the second site", quoteName(path)))
	}
	for key := range second {
		if !primary[key] {
			differences = append(differences, fmt.Sprintf("repository %s: only on the second site", quoteName(key)))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(primary)) {
		if !second[key] {
			differences = append(differences, fmt.Sprintf("repository %s: missing on the second site", quoteName(key)))
			continue
		}
		found, err := d.compareRefs(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("compare repository %s: %w", key, err)
		}
		differences = append(differences, found...)
	}
	d.figures.repositories = len(second)
	return withStaging(differences, d.places.secondRepositories)
}

func (d *demo) compareRefs(ctx context.Context, key string) ([]string, error) {
	primary, err := d.git.refs(ctx, filepath.Join(d.places.primaryRepositories, key))
	if err != nil {
		return nil, err
	}
	place := filepath.Join(d.places.secondRepositories, key)
	second, err := d.git.refs(ctx, place)
	if err != nil {
		return []string{fmt.Sprintf("repository %s: unreadable on the second site: %v", quoteName(key), err)}, ctx.Err()
	}
	var differences []string
	names := maps.Clone(primary)
	maps.Copy(names, second)
	for _, ref := range slices.Sorted(maps.Keys(names)) {
		if a, b := primary[ref], second[ref]; a != b {
			differences = append(differences, fmt.Sprintf("repository %s: %s is %q on the primary site, %q on the second", quoteName(key), ref, a, b))
		}
	}
	if err := d.git.intact(ctx, place); err != nil {
		differences = append(differences, fmt.Sprintf("repository %s: objects are missing on the second site: %v", quoteName(key), err))
	}
	d.figures.refs += len(second) - 1
	return differences, ctx.Err()
}

// repositoriesIn returns the git folders below root by path, and what lies in
// none.
func repositoriesIn(root string) (found map[string]bool, strange []string, err error) {
	found = make(map[string]bool)
	folders := make(map[string]bool)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil || rel == ".":
			return err
		case rel == staging:
			return fs.SkipDir
		case !entry.IsDir():
			strange = append(strange, rel)
			fill(folders, rel)
			return nil
		case isGitFolder(path):
			found[rel] = true
			fill(folders, rel)
			return fs.SkipDir
		}
		folders[rel] = false
		return nil
	})
	for dir, filled := range folders {
		if !filled {
			strange = append(strange, dir)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list repositories in %s: %w", root, err)
	}
	return found, strange, nil
}

// compareSource compares what was read with what is there now.
func (d *demo) compareSource(ctx context.Context) ([]string, error) {
	differences, err := d.loader.unchanged(ctx)
	if err != nil {
		return nil, err
	}
	if d.own == "" {
		return differences, nil
	}
	after, err := fingerprint(ctx, d.own)
	if err != nil {
		return nil, fmt.Errorf("read repository %s again: %w", d.own, err)
	}
	return append(differences, changed(d.own, d.ownBefore, after)...), nil
}

// changed names what is not as it was below a folder that is only read.
func changed(root string, before, after map[string]content) (differences []string) {
	const format = "%s %s while the demo ran, which only reads it: run again when nobody else writes there"
	for path, b := range before {
		a, there := after[path]
		switch {
		case !there:
			differences = append(differences, fmt.Sprintf(format, quoteName(filepath.Join(root, path)), "vanished"))
		case a != b:
			differences = append(differences, fmt.Sprintf(format, quoteName(filepath.Join(root, path)), "changed"))
		}
	}
	for path := range after {
		if _, there := before[path]; !there {
			differences = append(differences, fmt.Sprintf(format, quoteName(filepath.Join(root, path)), "appeared"))
		}
	}
	slices.Sort(differences)
	return differences
}
