package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// within tells whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// prepare starts the servers and reads the source meanwhile.
func (d *demo) prepare(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.startSites(ctx) })
	group.Go(func() error { return d.inspect(ctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	if within(d.primary.Primary.Dir(), d.cfg.Source) {
		return fmt.Errorf("source %s contains the servers' folder, %s: choose another source, or set TMPDIR to a folder outside of it",
			d.cfg.Source, d.primary.Primary.Dir())
	}
	return nil
}

// inspect reads what there is to be replicated.
func (d *demo) inspect(ctx context.Context) error {
	var err error
	d.own, err = d.git.findRepository(ctx, d.cfg.Repository)
	switch {
	case errors.Is(err, errNoRepository) && d.cfg.Repository == "":
		d.out.line("note        the working directory is in no git repository, so no repository of our own is replicated")
	case err != nil:
		return err
	}
	if d.scan, err = scanSource(ctx, d.cfg.Source); err != nil {
		return err
	}
	if d.own != "" {
		if d.ownBefore, err = fingerprint(ctx, d.own); err != nil {
			return fmt.Errorf("read repository %s: %w", d.own, err)
		}
		d.out.line("repository  %s", d.own)
	}
	d.out.line("source      %s: %s files, %s", d.cfg.Source, thousands(len(d.scan.files)), bytesText(d.scan.bytes))
	d.cfg.hook(pointScanned, d)
	return d.enoughSpace()
}

// serversNeed is what the databases and their logs take beside the resources.
const serversNeed = 512 << 20

// enoughSpace fails before the disk is full and not after.
func (d *demo) enoughSpace() error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.work.dir, &fs); err != nil {
		return fmt.Errorf("find free space in %s: %w", d.work.dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	need := d.scan.bytes/10*22 + serversNeed
	if free < need {
		return fmt.Errorf("copy %s twice to %s: %s are needed and %s are free: choose a smaller source, or set TMPDIR to a larger disk",
			bytesText(d.scan.bytes), filepath.Dir(d.work.dir), bytesText(need), bytesText(free))
	}
	return nil
}

// startWorkers starts both sites' workers, each with its environment and
// nothing else.
func (d *demo) startWorkers(ctx context.Context, fail context.CancelCauseFunc) error {
	common := []string{"PATH=" + d.path, "LOG_FORMAT=json", "LOG_LEVEL=info", "REDIS_URL=" + d.primary.Redis.URL()}
	for _, site := range []struct {
		name string
		env  []string
	}{
		{"primary", []string{
			"DATABASE_URL=" + d.primary.URL,
			"RUNNER_ADDR=127.0.0.1:0", "RUNNER_ARTIFACT_URL=" + d.places.primaryFiles,
		}},
		{"second", []string{
			"DATABASE_URL=" + d.second.URL,
			"SOURCE_DATABASE_URL=" + d.standbyURL(),
			"ARTIFACT_SOURCE_URL=" + d.places.primaryFiles,
			"ARTIFACT_TARGET_URL=" + d.places.secondFiles,
			"REPOSITORY_SOURCE_URL=" + d.places.primaryRepositories,
			"REPOSITORY_TARGET_DIR=" + d.places.secondRepositories,
		}},
	} {
		worker, err := startWorker(d.cfg.Worker, site.name+" site", d.work.path(site.name, "worker.log"), append(site.env, common...))
		if err != nil {
			return err
		}
		d.workers = append(d.workers, worker)
		go worker.watch(ctx, fail)
	}
	d.followed = d.workers[1]
	return nil
}

// makeActors makes those who load, change and push.
func (d *demo) makeActors(ctx context.Context) error {
	d.catalog = newCatalog()
	d.loader = &loader{scan: d.scan, fileStore: d.fileStore, db: d.primary.DB, catalog: d.catalog}
	if err := d.loader.makeProjects(ctx); err != nil {
		return err
	}
	seed := uint64(time.Now().UnixNano())
	d.churner = &churner{
		fileStore: d.fileStore, catalog: d.catalog, projects: d.loader.projects,
		folder: d.scan.unusedName("casq-demo"), rng: rand.New(rand.NewPCG(seed, seed)),
	}
	d.pusher = &pusher{git: d.git, dir: d.work.path("clones")}
	return nil
}
