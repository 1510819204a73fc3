package localrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"casq/internal/cifile"
)

// Config says what is run, and how.
type Config struct {
	Dir  string // the folder
	File string // the CI file in it
	// Jobs are those to run, with those that they wait for, or Alone; none: all.
	Jobs  []string
	Alone bool
	// Variables go before those of the file.
	Variables []cifile.Variable
	// Runner is the program, by its path or its name in PATH.
	Runner     string
	Executor   Executor
	Concurrent int // jobs at once
	// Environment is that of git, and of the runner and its jobs.
	Environment []string
	Out         io.Writer // logs and what became of the jobs
	Colors      bool      // Out is a terminal
	Logger      *slog.Logger
	// Abort is closed when jobs that are canceled are not waited for any more. May be nil.
	Abort <-chan struct{}
}

// ErrAborted says that jobs which ran were not waited for.
var ErrAborted = errors.New("the jobs that ran were ended at once")

// ErrFailed says that a job has failed, or that one that was asked for did not begin.
var ErrFailed = errors.New("the pipeline has failed")

// run is one that is under way.
type run struct {
	cfg        Config
	program    string
	place      *place
	snapshot   *snapshot
	predefined []cifile.Variable
	plan       *cifile.Plan
	terminal   *terminal
	*coordinator
	runner *runnerProcess
}

// Run runs the jobs, and returns nil when all have succeeded. When ctx is done those that
// run are canceled: they run their after_script.
//
// Errors: [ErrFailed], [ErrAborted], [ErrNoRunner], [cifile.LineError], [cifile.ErrNoJobs].
func Run(ctx context.Context, cfg Config) (err error) {
	r := &run{cfg: cfg, terminal: &terminal{out: cfg.Out, colors: cfg.Colors}}
	if r.cfg.Dir, err = canonical(cfg.Dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.cfg.Dir)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	defer root.Close()
	file, err := cifile.Read(root.FS(), cfg.File)
	if err != nil {
		return err
	}
	if r.program, err = findRunner(cfg.Runner); err != nil {
		return err
	}
	if r.place, err = newPlace(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.place.remove()) }()
	if r.snapshot, err = takeSnapshot(ctx, r.cfg.Dir, r.place, cfg.Environment); err != nil {
		return fmt.Errorf("take a snapshot of the folder: %w", err)
	}
	r.predefined = predefined(r.snapshot, r.cfg)
	r.plan, err = file.Plan(cifile.Options{Predefined: r.predefined, Given: cfg.Variables, Jobs: cfg.Jobs, Alone: cfg.Alone, Files: root.FS()})
	if err != nil {
		return err
	}
	if err := r.checkExecutor(); err != nil {
		return err
	}
	return r.inPlace(ctx)
}

// canonical is a folder by its path without links, as git says it.
func canonical(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("open the folder: %w", err)
	}
	return dir, nil
}

// checkExecutor refuses what the executor cannot do, and tells what it passes over.
func (r *run) checkExecutor() error {
	if r.cfg.Executor != Shell {
		return nil
	}
	var errs []error
	var images []string
	for _, job := range r.plan.Jobs {
		if len(job.Services) > 0 {
			errs = append(errs, &cifile.LineError{At: job.Services[0].At, Text: job.Name + ": services need containers: --executor docker"})
		}
		if job.Image != nil && !slices.Contains(images, job.Image.Name) {
			images = append(images, job.Image.Name)
		}
	}
	if len(images) > 0 {
		r.terminal.say("jobs run on this machine, and not in %s: --executor docker has them in containers", strings.Join(images, ", "))
	}
	return errors.Join(errs...)
}

// inPlace starts what jobs need, and has them run.
func (r *run) inPlace(ctx context.Context) (err error) {
	for _, note := range r.snapshot.notes {
		r.terminal.say("%s", note)
	}
	if r.coordinator, err = startCoordinator(ctx, r.place, r.cfg.Logger); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.coordinator.close()) }()
	var token string
	if err := r.pool.QueryRow(ctx, runSQL.Runner, r.tags()).Scan(&token); err != nil {
		return fmt.Errorf("make a runner: %w", err)
	}
	if r.runner, err = r.startRunner(ctx, r.url, token); err != nil {
		return err
	}
	defer r.runner.stop()
	return r.jobs(ctx)
}

// tags are those of all jobs: the runner takes each.
func (r *run) tags() []string {
	tags := []string{}
	for _, job := range r.plan.Jobs {
		tags = append(tags, job.Tags...)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}
