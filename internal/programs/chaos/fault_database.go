package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/internal/pause"
	"casq/internal/testing/servers"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

const endSessionsSQL = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`

func endSessionsAtHome(*rand.Rand, config) injection {
	return injection{
		what:  "end all sessions at home",
		needs: []string{resourceHome},
		run:   func(ctx context.Context, c *chaos) error { return c.site.home.Primary.Exec(ctx, endSessionsSQL) },
	}
}

func endSessionsAtSource(*rand.Rand, config) injection {
	return injection{
		what:  "end all sessions at the primary and its standby",
		needs: []string{resourceSource},
		run:   func(ctx context.Context, c *chaos) error { return c.endSessionsAtSource(ctx) },
	}
}

func (c *chaos) endSessionsAtSource(ctx context.Context) error {
	if err := c.site.source.Primary.Exec(ctx, endSessionsSQL); err != nil {
		return err
	}
	return c.site.standby().Exec(ctx, endSessionsSQL)
}

// restart is what `pg_ctl restart -m immediate` does, with a pause.
func restart(ctx context.Context, server *servers.Postgres, down time.Duration) error {
	if err := server.StopImmediate(ctx); err != nil {
		return err
	}
	if err := pause.For(ctx, down); err != nil {
		return err
	}
	return server.Start(ctx)
}

func restartHome(r *rand.Rand, _ config) injection {
	down := between(r, 0, 1500*time.Millisecond)
	return injection{
		what:  fmt.Sprintf("stop home at once, start it again after %s", down),
		needs: []string{resourceHome},
		run:   func(ctx context.Context, c *chaos) error { return restart(ctx, c.site.home.Primary, down) },
	}
}

func restartPrimary(r *rand.Rand, _ config) injection {
	down := between(r, 0, 1500*time.Millisecond)
	return injection{
		what:  fmt.Sprintf("stop the primary at once, start it again after %s", down),
		needs: []string{resourceSource},
		run:   func(ctx context.Context, c *chaos) error { return restart(ctx, c.site.source.Primary, down) },
	}
}

func restartStandby(r *rand.Rand, _ config) injection {
	down := between(r, 0, 1500*time.Millisecond)
	return injection{
		what:  fmt.Sprintf("stop the standby at once, start it again after %s", down),
		needs: []string{resourceSource},
		run:   func(ctx context.Context, c *chaos) error { return restart(ctx, c.site.standby(), down) },
	}
}

// frozen is something that can be frozen.
type frozen interface {
	Freeze() error
	Thaw() error
}

// freeze leaves connections open, on which nothing answers.
func freeze(ctx context.Context, server frozen, d time.Duration) error {
	if err := server.Freeze(); err != nil {
		return err
	}
	err := pause.For(ctx, d)
	return errors.Join(err, server.Thaw())
}

func freezeHome(r *rand.Rand, cfg config) injection {
	d := between(r, 200*time.Millisecond, cfg.ttl+cfg.ttl/2)
	return injection{
		what:  fmt.Sprintf("freeze home for %s", d),
		needs: []string{resourceHome},
		run:   func(ctx context.Context, c *chaos) error { return freeze(ctx, c.site.home.Primary, d) },
	}
}

func freezeStandby(r *rand.Rand, cfg config) injection {
	d := between(r, 200*time.Millisecond, cfg.ttl+cfg.ttl/2)
	return injection{
		what:  fmt.Sprintf("freeze the standby for %s", d),
		needs: []string{resourceSource},
		run:   func(ctx context.Context, c *chaos) error { return freeze(ctx, c.site.standby(), d) },
	}
}

// hangStandby freezes the standby for longer than a recount waits for a host, which
// is 10 s: it goes on with another one. Who reads the log there has to wait, and so
// has a comparison, which is asked for then.
func hangStandby(r *rand.Rand, _ config) injection {
	d := between(r, 11*time.Second, 14*time.Second)
	return injection{
		what:  fmt.Sprintf("hang the standby for %s, compare", d),
		needs: []string{resourceSource},
		run: func(ctx context.Context, c *chaos) error {
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return freeze(ctx, c.site.standby(), d) })
			group.Go(func() error { return c.compare(ctx) })
			return group.Wait()
		},
	}
}

// compareSites is no fault itself: what others do comes upon it.
func compareSites(*rand.Rand, config) injection {
	return injection{
		what: "compare the registry with the source",
		run:  func(ctx context.Context, c *chaos) error { return c.compare(ctx) },
	}
}

// compare asks for a comparison of all kinds, but not of what is in place: that would
// verify most of it, and repair what is to be found. One that home loses is not asked
// for again.
func (c *chaos) compare(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, c.site.home.DB, func(tx pgx.Tx) error {
		_, err := registry.Ask(ctx, tx, registry.Request{Reason: registry.Asked})
		return err
	})
	if err != nil && lostConnection(err) {
		c.journal.say("       it was not asked for: %v", err)
		return nil
	}
	return err
}

// pauseReplay makes the standby late: it receives, and shows nothing of it.
func pauseReplay(r *rand.Rand, _ config) injection {
	late := between(r, time.Second, 5*time.Second)
	return injection{
		what:  fmt.Sprintf("pause replay at the standby for %s", late),
		needs: []string{resourceSource},
		run: func(ctx context.Context, c *chaos) error {
			if err := c.site.standby().PauseReplay(ctx); err != nil {
				return err
			}
			if err := pause.For(ctx, late); err != nil {
				return err
			}
			return c.site.standby().ResumeReplay(ctx)
		},
	}
}
