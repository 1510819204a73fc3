package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// config says what is replicated and who watches.
type config struct {
	// Source is the folder whose files become artifacts. Defaults to the src
	// folder of the Go toolchain in PATH.
	Source string
	// Repository is a git folder, or a folder with one, to be replicated beside
	// those below Source. Defaults to that of the working directory; none there
	// is a note and no error.
	Repository string
	// Keep leaves both sites as they are at the end, their databases running,
	// and says how to inspect and how to remove them.
	Keep bool
	// Worker is the worker program, started as "<Worker> run" with its
	// environment.
	Worker string
	// Out gets what people read. Defaults to nowhere.
	Out io.Writer
	// Terminal says that Out is one: progress is then drawn as bars.
	Terminal bool
	// Logger gets what is worth knowing when something goes wrong. Defaults to
	// discarding.
	Logger *slog.Logger

	// temporary is where the demo's own folder is made; os.TempDir.
	temporary string
	// stall is how long nothing may move before the demo gives up; a minute.
	stall time.Duration
	// hook is called at named points, for tests that interfere there.
	hook func(point string, d *demo)
}

// Points at which config.hook is called.
const (
	pointScanned   = "scanned"   // the source's list is made, nothing is copied
	pointFollowing = "following" // both workers run, the first rows are in
	pointQuiescent = "quiescent" // nothing is left to do, nothing is compared
)

func (c config) withDefaults(ctx context.Context) (config, error) {
	c.Out = cmp.Or(c.Out, io.Discard)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.stall = cmp.Or(c.stall, time.Minute)
	c.temporary = cmp.Or(c.temporary, os.TempDir())
	if c.hook == nil {
		c.hook = func(string, *demo) {}
	}
	var err error
	if c.Worker, err = program(c.Worker); err != nil {
		return c, err
	}
	if c.Source == "" {
		if c.Source, err = goSource(ctx); err != nil {
			return c, err
		}
	}
	if c.Source, err = folder(c.Source); err != nil {
		return c, fmt.Errorf("open source: %w", err)
	}
	if c.temporary, err = folder(c.temporary); err != nil {
		return c, fmt.Errorf("open the folder for temporary files: %w", err)
	}
	return c, nil
}

// program returns the path of a program, from wherever it is started.
func program(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = exec.LookPath(path)
	}
	if err != nil {
		return "", fmt.Errorf("find the worker program: %w (run `make build`, or name it)", err)
	}
	return path, nil
}

// goSource returns the source code of the Go toolchain: over 10,000 files that
// everybody who builds this has.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its own source, which is the default: %w (name another folder as source)", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

// folder returns the path of a folder that can be read, without links.
func folder(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", err
	}
	dir, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a folder", path)
	}
	if _, err = dir.ReadDir(1); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return path, nil
}
