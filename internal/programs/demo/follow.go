package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// replicate loads the source, changes resources while the second site follows,
// runs a build, and waits until nothing is left to do. Both workers are stopped at its end.
func (d *demo) replicate(ctx context.Context, fail context.CancelCauseFunc) error {
	if err := d.makeActors(ctx); err != nil {
		return err
	}
	// The workers may end after this function.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if err := d.startWorkers(watching, fail); err != nil {
		return err
	}
	began := time.Now()
	w := newWatcher(d)
	group, groupCtx := errgroup.WithContext(watching)
	group.Go(func() error { return w.run(groupCtx) })
	group.Go(func() error {
		if err := d.act(groupCtx, w); err != nil {
			return err
		}
		if err := d.build(groupCtx); err != nil {
			return err
		}
		return w.quiesce(groupCtx, d.primary.DB)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	d.figures.following = time.Since(began)
	if err := d.awaitCounters(watching); err != nil {
		return err
	}
	stop()
	d.out.endProgress()
	d.cfg.hook(pointQuiescent, d)
	return d.stopWorkers()
}

// act is all that happens at the primary site.
func (d *demo) act(ctx context.Context, w *watcher) error {
	group, ctx := errgroup.WithContext(ctx)
	var loaded atomic.Bool
	enough := func() bool { return loaded.Load() && w.caughtUp() }
	group.Go(func() error {
		err := d.loader.load(ctx)
		loaded.Store(err == nil)
		if err != nil {
			return err
		}
		return d.askRecount(ctx)
	})
	group.Go(func() error { return d.churn(ctx, enough) })
	group.Go(func() error { return d.push(ctx, enough) })
	return group.Wait()
}

// connect returns a connection of an application's own.
func (d *demo) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, d.primary.URL)
	if err != nil {
		return nil, fmt.Errorf("connect to the primary site: %w", err)
	}
	return conn, nil
}

// churn changes artifacts. One of its transactions is open all the time.
func (d *demo) churn(ctx context.Context, enough func() bool) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	open, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer open.Close(context.WithoutCancel(ctx))
	d.churner.db = conn
	done := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	latePath := d.churner.newPath()
	group.Go(func() error { return d.churner.late(ctx, open, latePath, done) })
	group.Go(func() error {
		defer close(done)
		d.cfg.hook(pointFollowing, d)
		return d.churner.run(ctx, len(d.scan.files), enough)
	})
	return group.Wait()
}

// push copies the repositories, inserts their rows, and pushes to them.
func (d *demo) push(ctx context.Context, enough func() bool) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	p := d.pusher
	p.db = conn
	plan := planRepositories(d.own, d.scan, d.places.primaryRepositories)
	if d.repositories, err = copyRepositories(ctx, d.git, plan, d.scan, d.own); err != nil {
		return err
	}
	p.repositories, p.own = d.repositories, ownRepository(d.repositories, d.places.primaryRepositories)
	if err := d.git.init(ctx, p.own.gitDir); err != nil {
		return err
	}
	for _, r := range append(d.repositories, p.own) {
		if err := d.git.insertRepository(ctx, d.primary.DB, r); err != nil {
			return err
		}
	}
	return p.run(ctx, enough)
}

// ownRepository is one more that the demo makes, deletes and makes again.
func ownRepository(others []repository, root string) repository {
	key := "casq-demo"
	for taken := true; taken; {
		taken = false
		for _, r := range others {
			if r.key == key+".git" {
				key, taken = key+"-", true
			}
		}
	}
	key += ".git"
	return repository{key: key, gitDir: filepath.Join(root, key)}
}

// stopWorkers ends both workers the way an operator does.
func (d *demo) stopWorkers() error {
	began := time.Now()
	defer func() { d.cfg.Logger.Debug("workers stopped", "duration", time.Since(began)) }()
	var group errgroup.Group
	for _, worker := range d.workers {
		group.Go(worker.stop)
	}
	return group.Wait()
}
