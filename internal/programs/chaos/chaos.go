package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"casq/internal/pause"
	"casq/internal/testing/buildfarm"
	"casq/internal/testing/child"

	"golang.org/x/sync/errgroup"
)

// errViolations is returned when something does not hold; it was printed.
var errViolations = errors.New("what is promised does not hold")

// chaos is one run.
type chaos struct {
	cfg     config
	work    *workspace
	journal *journal
	site    *site
	writer  *writer
	workers map[string]*process
	farm    *buildfarm.Farm
	ports   map[string]string // where workers hand out builds

	resources resources
	broken    complaints
	reads     readCounts
	spoiled   spoiled
	injected  atomic.Int64
	names     atomic.Int64 // see newName
}

// play injects faults while an application writes, waits until nothing is left
// to do, and compares. The last line that it prints begins with "chaos: OK"
// when nothing was found.
func play(ctx context.Context, cfg config) error {
	c := &chaos{cfg: cfg.withDefaults(), workers: make(map[string]*process)}
	var err error
	if c.work, err = openWorkspace(c.cfg.temporary); err != nil {
		return err
	}
	found, err := c.playIn(ctx)
	if err != nil || len(found) > 0 {
		fmt.Fprintf(c.cfg.out, "kept: %s\n", c.work.dir)
	} else {
		err = c.work.remove()
	}
	if err != nil {
		return err
	}
	verdict := "OK"
	if len(found) > 0 {
		verdict, err = "FAILED", errViolations
	}
	fmt.Fprintf(c.cfg.out, "chaos: %s seed=%d operations=%d faults=%d violations=%d\n",
		verdict, c.cfg.seed, c.writer.committed.Load(), c.injected.Load(), len(found))
	return err
}

// playIn is play in a folder that is there. It ends all that it starts.
func (c *chaos) playIn(ctx context.Context) (found []violation, err error) {
	if c.journal, err = openTimeline(c.cfg.out, c.work.path("journal.txt")); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.journal.close()) }()
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	err = c.storm(ctx)
	if err == nil {
		found, err = c.finish(ctx)
	}
	if err != nil || len(found) > 0 {
		err = errors.Join(err, c.preserve(context.WithoutCancel(ctx), evidence))
	}
	return found, errors.Join(err, c.close())
}

// start starts the servers, the application's data, and the workers.
func (c *chaos) start(ctx context.Context) error {
	path, err := child.SearchPath()
	if err != nil {
		return err
	}
	if c.site, err = startSite(ctx, c.work, c.cfg.world, c.journal); err != nil {
		return err
	}
	repos, err := newRepoStore(ctx, c.work, path)
	if err != nil {
		return err
	}
	c.writer = &writer{db: c.site.source.DB, files: newFileStore(c.work.path(sourceFiles), c.work.path(incoming)), repos: repos}
	if c.ports, err = freePorts(ctx, atPrimary); err != nil {
		return err
	}
	for _, s := range c.specs(path) {
		if c.workers[s.Name], err = newProcess(c, s); err != nil {
			return err
		}
	}
	if err := c.startFarm(ctx); err != nil {
		return err
	}
	c.journal.say("seed %d: a primary, its standby, home, Redis, %d workers, in %s", c.cfg.seed, len(c.workers), c.work.dir)
	if c.cfg.world.watched {
		c.journal.say("event triggers: yes; artifacts is partitioned")
	}
	c.journal.say("clocks: the source's %s, home's %s ahead", c.cfg.world.sourceClock, c.cfg.world.homeClock)
	return nil
}

func (c *chaos) specs(path string) []spec {
	ticker := spec{Name: tickerName, HomeURL: c.site.url(primaryLink), ReplicaURL: c.site.url(followLink), RedisURL: c.site.source.Redis.URL(), Path: path, TTL: c.cfg.ttl}
	ticker.Builds = &buildsSpec{Folder: c.work.path(sourceFiles)}
	var all []spec
	for _, name := range atPrimary {
		s, b := ticker, *ticker.Builds
		s.Name, s.Orders, b.Address = name, c.work.path(name+".order"), c.ports[name]
		s.Builds = &b
		all = append(all, s)
	}
	for i := range followers {
		s := ticker
		s.ReplicaURL, s.Builds = "", nil
		s.Name, s.HomeURL, s.SourceURL = workerName(i), c.site.home.URL, c.site.url(followLink)
		s.Orders = c.work.path(s.Name + ".order")
		s.ArtifactSource, s.ArtifactTarget = c.work.path(sourceFiles), c.work.path(targetFiles)
		s.RepositorySource, s.RepositoryTarget = c.work.path(sourceRepositories), c.work.path(targetRepositories)
		all = append(all, s)
	}
	return all
}

// storm writes and injects faults for as long as is configured, and returns
// when the last one is over.
func (c *chaos) storm(ctx context.Context) error {
	stop := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.writer.run(ctx, c.cfg, stop) })
	group.Go(func() error { return c.recount(ctx, stop) })
	group.Go(func() error { return c.farm.Run(ctx, stop) })
	group.Go(func() error { return c.readBack(ctx, stop) })
	group.Go(func() error {
		defer close(stop)
		return c.injectAll(ctx)
	})
	return group.Wait()
}

func (c *chaos) injectAll(ctx context.Context) error {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range plan(c.cfg) {
		if pause.For(ctx, p.at-time.Since(began)) != nil {
			break
		}
		group.Go(func() error { return c.inject(ctx, p) })
	}
	_ = pause.For(ctx, c.cfg.duration-time.Since(began)) // group knows why
	return group.Wait()
}

// finish waits until nothing is left to do, stops the workers, and compares.
func (c *chaos) finish(ctx context.Context) ([]violation, error) {
	c.journal.say("%d operations committed, %d rolled back, %d with an answer that was lost; %d faults; waiting until nothing is left to do",
		c.writer.committed.Load(), c.writer.rolledBack.Load(), c.writer.uncertain.Load(), c.injected.Load())
	found, err := c.quiesce(ctx)
	if err != nil {
		return nil, err
	}
	more, err := c.verifySpoiled(ctx)
	if err != nil {
		return nil, err
	}
	c.farm.Halt()
	found = slices.Concat(c.broken.all, found, more, c.stopWorkers())
	c.journal.say("comparing")
	for _, k := range checks {
		more, err := k.run(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", k.name, err)
		}
		found = append(found, more...)
	}
	return found, c.report(ctx, found)
}

// stopWorkers ends the workers as an operator does. One that does not stop in
// order is a violation.
func (c *chaos) stopWorkers() (found []violation) {
	names := make([]string, 0, len(c.workers))
	for name := range c.workers {
		names = append(names, name)
	}
	slices.Sort(names)
	var group errgroup.Group
	ends := make([]error, len(names))
	for i, name := range names {
		group.Go(func() error {
			ends[i] = c.workers[name].stop()
			return nil
		})
	}
	_ = group.Wait() // no stop returns an error
	for i, err := range ends {
		if err != nil {
			found = append(found, violation{text: fmt.Sprintf("%s does not stop in order: %v", names[i], err)})
		}
	}
	return found
}

// close ends all that was started.
func (c *chaos) close() error {
	if c.farm != nil {
		c.farm.Halt()
	}
	for _, p := range c.workers {
		p.kill()
	}
	if c.site == nil {
		return nil
	}
	return c.site.stop()
}
