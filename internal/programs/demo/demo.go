package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"casq/internal/queries"
	"casq/internal/testing/child"
	"casq/internal/testing/sites"
)

//go:embed demo.sql
var demoText string

// demoSQL has the statements of demo.sql.
var demoSQL = queries.Parse[struct{ Needed, State, Unfinished, Counters, Built, Log string }]("demo", demoText)

// demo is one call of run.
type demo struct {
	cfg  config
	out  *printer
	work *workspace
	git  *git
	path string // PATH of children

	// primary has the standby that the second site reads, and Redis for both.
	primary, second *sites.Site
	workers         []*siteWorker
	followed        *siteWorker // the second site's worker

	own          string // the git folder of this repository; "" if there is none
	scan         *scan
	fileStore    *fileStore
	catalog      *catalog
	loader       *loader
	churner      *churner
	pusher       *pusher
	repositories []repository
	ownBefore    map[string]content

	places  places
	figures figures
	recount recounted
	built   built
	kept    bool // the databases run on
}

// places are the folders that are compared.
type places struct {
	primaryFiles, primaryRepositories string
	secondFiles, secondRepositories   string
}

// run replicates the source to a second site and returns nil if both sites are
// equal at the end; the last line that it prints is "demo: OK" then. It leaves
// nothing behind, however it ends, unless it is told to keep the sites.
func run(ctx context.Context, cfg config) error {
	cfg, err := cfg.withDefaults(ctx)
	if err != nil {
		return err
	}
	d := &demo{cfg: cfg, out: newPrinter(cfg.Out, cfg.Terminal)}
	if d.path, err = child.SearchPath(); err != nil {
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	inner, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	err = d.play(inner, fail)
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause // what ended everything else says more than what it broke
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
	}
	if err = errors.Join(err, d.close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	d.out.line("demo: OK")
	return nil
}

// open makes the temporary folder.
func (d *demo) open() error {
	var err error
	if d.work, err = openWorkspace(d.cfg.temporary, d.cfg.Keep); err != nil {
		return err
	}
	if err := d.fill(); err != nil {
		return errors.Join(err, d.work.remove())
	}
	return nil
}

func (d *demo) fill() error {
	if within(d.work.dir, d.cfg.Source) {
		return fmt.Errorf("source %s contains the folder for temporary files, %s: choose another source, or set TMPDIR to a folder outside of it",
			d.cfg.Source, d.work.dir)
	}
	if longest := 80; d.cfg.Keep && len(d.work.path("servers", "primary")) > longest {
		return fmt.Errorf("keep servers in %s: its name is too long for a socket's: set TMPDIR to a folder with a shorter one", d.work.dir)
	}
	var errs []error
	mkdir := func(parts ...string) string {
		dir, err := d.work.mkdir(parts...)
		errs = append(errs, err)
		return dir
	}
	d.places = places{
		primaryFiles:        mkdir("primary", "files"),
		primaryRepositories: mkdir("primary", "repositories"),
		secondFiles:         mkdir("second", "files"),
		secondRepositories:  mkdir("second", "repositories"),
	}
	d.fileStore = &fileStore{root: d.places.primaryFiles, incoming: mkdir("primary", "incoming")}
	mkdir("clones")
	var err error
	d.git, err = newGit(d.work, d.path)
	return errors.Join(append(errs, err)...)
}

// play is the demo itself.
func (d *demo) play(ctx context.Context, fail context.CancelCauseFunc) error {
	began := time.Now()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	d.figures.preparing = time.Since(began)
	if err := d.replicate(ctx, fail); err != nil {
		return err
	}
	began = time.Now()
	differences, err := d.verify(ctx)
	if err != nil {
		return err
	}
	d.figures.comparing = time.Since(began)
	if d.cfg.Keep {
		if err := d.keep(ctx); err != nil {
			return err
		}
	}
	d.report(differences)
	return d.out.differences(differences)
}

// close ends all that was started and removes all that was made. What is kept
// is left to the one who asked for it.
func (d *demo) close(ctx context.Context) error {
	began := time.Now()
	for _, worker := range d.workers {
		worker.Kill()
	}
	err := d.stopSites()
	d.cfg.Logger.DebugContext(ctx, "servers stopped", "duration", time.Since(began))
	if !d.cfg.Keep {
		err = errors.Join(err, d.work.remove())
		d.cfg.Logger.DebugContext(ctx, "everything removed", "duration", time.Since(began))
		return err
	}
	if !d.kept {
		d.out.line("kept: %s (its databases are stopped); remove it with: rm -rf %s", d.work.dir, d.work.dir)
	}
	return errors.Join(err, d.work.keep())
}
