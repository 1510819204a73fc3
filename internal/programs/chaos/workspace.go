package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// workspace is the folder of a run.
type workspace struct{ dir string }

// Folders of both sites, and what belongs to neither.
const (
	sourceFiles        = "source/files"
	sourceRepositories = "source/repositories"
	targetFiles        = "target/files"
	targetRepositories = "target/repositories"
	incoming           = "source/incoming" // what is about to be renamed into a source
	swapped            = "swapped"         // folders that had, or have, another's name
	logs               = "logs"
	evidence           = "evidence"
	stalled            = "evidence/stalled" // as it was when nothing moved, while the workers ran
)

func openWorkspace(base string) (*workspace, error) {
	dir, err := os.MkdirTemp(base, "casq-chaos-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	w := &workspace{dir: dir}
	for _, folder := range []string{sourceFiles, sourceRepositories, targetFiles, targetRepositories, incoming, swapped, logs} {
		err = errors.Join(err, os.MkdirAll(w.path(folder), 0o700))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a temporary folder: %w", err), os.RemoveAll(dir))
	}
	return w, nil
}

func (w *workspace) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *workspace) remove() error { return os.RemoveAll(w.dir) }
