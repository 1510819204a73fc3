package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"casq/internal/pause"
)

const (
	followers  = 3        // workers of the second site
	tickerName = "ticker" // a worker at the primary
	secondName = "second" // another one, which takes the ticks when that does not
)

// atPrimary are the workers at the primary, which also hand builds out.
var atPrimary = []string{tickerName, secondName}

func workerName(i int) string { return fmt.Sprintf("worker-%d", i+1) }

// anyWorker draws a worker; the one that takes the ticks is one of them.
func anyWorker(r *rand.Rand) string {
	all := append(collect(followers, workerName), atPrimary...)
	return all[r.IntN(len(all))]
}

// killWorker ends a worker with SIGKILL and starts it again.
func killWorker(r *rand.Rand, _ config) injection {
	name, down := anyWorker(r), between(r, 0, 2*time.Second)
	return injection{
		what:  fmt.Sprintf("kill %s, start it again after %s", name, down),
		needs: []string{name},
		run: func(ctx context.Context, c *chaos) error {
			p := c.workers[name]
			p.kill()
			if err := pause.For(ctx, down); err != nil {
				return err
			}
			return p.start()
		},
	}
}

// killFollowers ends all workers of the second site at once.
func killFollowers(r *rand.Rand, _ config) injection {
	names, down := collect(followers, workerName), between(r, 0, 2*time.Second)
	return injection{
		what:  fmt.Sprintf("kill all workers of the second site, start them again after %s", down),
		needs: names,
		run: func(ctx context.Context, c *chaos) error {
			for _, name := range names {
				c.workers[name].kill()
			}
			if err := pause.For(ctx, down); err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				errs = append(errs, c.workers[name].start())
			}
			return errors.Join(errs...)
		},
	}
}

// freezeWorker stops a worker for longer than leases and claims are good, and
// lets it go on.
func freezeWorker(r *rand.Rand, cfg config) injection {
	name, frozen := anyWorker(r), between(r, cfg.ttl+cfg.ttl/4, 3*cfg.ttl)
	return injection{
		what:  fmt.Sprintf("freeze %s for %s", name, frozen),
		needs: []string{name},
		run: func(ctx context.Context, c *chaos) error {
			p := c.workers[name]
			if !p.signal(syscall.SIGSTOP) {
				c.journal.say("       %s was not there to be frozen", name)
				return nil
			}
			err := pause.For(ctx, frozen)
			if !p.signal(syscall.SIGCONT) {
				err = errors.Join(err, fmt.Errorf("thaw %s: it is gone", name))
			}
			c.journal.say("       %s goes on", name)
			return err
		},
	}
}
