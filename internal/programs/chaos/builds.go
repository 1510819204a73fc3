package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"casq/internal/testing/buildfarm"
	"casq/internal/testing/buildhistory"
	"casq/internal/worker"
	"casq/runner"
)

// buildsSpec is what a worker that hands out builds is told.
type buildsSpec struct{ Address, Folder string }

// buildLimits are so short that they are over while a fault goes on.
var buildLimits = buildhistory.Limits{StartWithin: 4 * time.Second, SilentAfter: 8 * time.Second}

func (b *buildsSpec) config(c *worker.Config) {
	if b == nil {
		return
	}
	c.RunnerAddr, c.RunnerArtifacts = b.Address, b.Folder
	c.Runner = runner.Options{
		Hold: 3 * time.Second, StartWithin: buildLimits.StartWithin, SilentAfter: buildLimits.SilentAfter,
		TraceInterval: time.Second, SweepEvery: time.Second, ContactsEvery: time.Second,
	}
}

// freePorts finds an address for each name that nobody listens at.
func freePorts(ctx context.Context, names []string) (map[string]string, error) {
	ports := make(map[string]string)
	var all []net.Listener
	var errs []error
	for _, name := range names {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			errs = append(errs, fmt.Errorf("find a free port: %w", err))
			break
		}
		ports[name], all = listener.Addr().String(), append(all, listener)
	}
	for _, listener := range all { // each has had another one
		errs = append(errs, listener.Close())
	}
	return ports, errors.Join(errs...)
}

func (c *chaos) startFarm(ctx context.Context) (err error) {
	var urls []string
	for _, name := range atPrimary {
		urls = append(urls, "http://"+c.ports[name])
	}
	c.farm, err = buildfarm.New(ctx, buildfarm.Options{
		DB: c.site.source.DB, Coordinators: urls, Folder: c.work.path(sourceFiles), Seed: c.cfg.seed,
		Limits: buildLimits, Complain: c.complain, Passes: mayRepeat,
	})
	if err != nil {
		return fmt.Errorf("start runners: %w", err)
	}
	return nil
}

func checkBuilds(ctx context.Context, c *chaos) (found []violation, err error) {
	wrong, what, err := c.farm.Check(ctx)
	for _, text := range wrong {
		found = append(found, violation{text: text})
	}
	c.journal.say("%s", what)
	return found, err
}
