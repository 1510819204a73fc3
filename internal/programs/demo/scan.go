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
	"sync"
	"syscall"
)

// scan is what was found below the source.
type scan struct {
	root  string
	files []string // keys of regular files, in order
	bytes int64
	// gitFolders are paths of git folders, relative to root.
	gitFolders []string
	names      map[string]bool // of all files and folders
	skipped    skips
}

// scanSource lists what is below root. Links are not followed, and what cannot
// be a resource is skipped with a reason.
func scanSource(ctx context.Context, root string) (*scan, error) {
	s := &scan{root: root, names: make(map[string]bool)}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, relErr := filepath.Rel(root, path)
		if relErr != nil {
			return relErr
		}
		if err != nil {
			return s.unreadable(rel, err)
		}
		s.visit(rel, entry)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	return s, nil
}

// unreadable passes over a folder that cannot be read, unless it is the source
// itself.
func (s *scan) unreadable(rel string, err error) error {
	reason := whyUnread(err)
	if rel == "." || reason == "" {
		return err
	}
	s.skipped.add(reason, rel)
	return nil
}

func (s *scan) visit(rel string, entry fs.DirEntry) {
	s.names[entry.Name()] = true
	switch {
	case entry.IsDir():
		if isGitFolder(filepath.Join(s.root, rel)) {
			s.gitFolders = append(s.gitFolders, rel)
		}
		return
	case entry.Type()&fs.ModeSymlink != 0:
		s.skipped.add("link, not followed", rel)
		return
	case !entry.Type().IsRegular():
		s.skipped.add("neither file nor folder", rel)
		return
	}
	if reason := badKey(rel); reason != "" {
		s.skipped.add(reason, rel)
		return
	}
	s.files = append(s.files, rel)
	if info, err := entry.Info(); err == nil {
		s.bytes += info.Size()
	}
}

// projects returns the names of all projects, in order.
func (s *scan) projects() []string {
	names := []string{"."}
	for _, file := range s.files {
		names = append(names, project(file))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unusedName returns a name with which no name of a file or folder below the
// source begins, so that what is made under it is in nobody's way.
func (s *scan) unusedName(name string) string {
	taken := func(other string) bool { return strings.HasPrefix(other, name) }
	for slices.ContainsFunc(slices.Collect(maps.Keys(s.names)), taken) {
		name += "-"
	}
	return name
}

// whyUnread returns why something at the source cannot be read, when that is a
// matter of the source; "" for anything else, such as a broken disk.
func whyUnread(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "vanished while it was read"
	case errors.Is(err, fs.ErrPermission):
		return "no permission to read"
	case errors.Is(err, syscall.ELOOP), errors.Is(err, errNotRegular), errors.Is(err, syscall.ENOTDIR):
		return "became something else while it was read"
	}
	return ""
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a file for reading. It follows no link and does not wait
// for the other end of a pipe.
func openRegular(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// skips counts what was left out, by reason. It may be used concurrently.
//
// mu guards byReason.
type skips struct {
	mu       sync.Mutex
	byReason map[string][]string
}

func (s *skips) add(reason, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byReason == nil {
		s.byReason = make(map[string][]string)
	}
	s.byReason[reason] = append(s.byReason[reason], path)
}

// lines returns a line per reason, with the first few names, quoted: they may
// hold anything.
func (s *skips) lines() []string {
	const shown = 3
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for reason, paths := range s.byReason {
		slices.Sort(paths)
		var names []string
		for _, path := range paths[:min(shown, len(paths))] {
			names = append(names, quoteName(path))
		}
		if len(paths) > shown {
			names = append(names, "...")
		}
		lines = append(lines, fmt.Sprintf("%d (%s): %s", len(paths), reason, strings.Join(names, ", ")))
	}
	slices.Sort(lines)
	return lines
}

// quoteName makes a name printable, and short.
func quoteName(name string) string {
	const longest = 120
	quoted := fmt.Sprintf("%q", name)
	if len(quoted) > longest {
		return quoted[:longest] + `..."`
	}
	return quoted
}
