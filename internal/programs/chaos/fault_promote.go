package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/eventlog"
	"casq/internal/pause"
	"casq/internal/testing/servers"
)

// failOver stops the primary in order, promotes the standby, which has
// everything, and builds a new one. A primary that stops waits for a standby that
// streams; one that has just been started again does so seconds later, and would lack
// what came last.
func failOver(*rand.Rand, config) injection {
	return injection{
		what:  "stop the primary in order, promote the standby, build a new one",
		needs: []string{resourceSource},
		run: func(ctx context.Context, c *chaos) error {
			if err := c.site.standby().WaitReplayed(ctx, c.site.source.Primary); err != nil {
				return err
			}
			since := time.Now()
			if err := c.site.source.Primary.StopFast(ctx); err != nil {
				return err
			}
			return c.promote(ctx, since, false)
		},
	}
}

// failOverLosing cuts the standby off, kills the primary, and promotes the
// standby: commits that the application was told of are lost. The second site
// follows the standby and has read none of them.
func failOverLosing(r *rand.Rand, _ config) injection {
	behind := between(r, 300*time.Millisecond, 2*time.Second)
	return injection{
		what:  fmt.Sprintf("kill the primary when the standby is %s behind, promote it, build a new one", behind),
		needs: []string{resourceSource},
		run: func(ctx context.Context, c *chaos) error {
			if err := c.site.standby().CutOff(ctx); err != nil {
				return err
			}
			if err := pause.For(ctx, behind); err != nil {
				return err
			}
			since := time.Now()
			if err := c.site.source.Primary.Kill(); err != nil {
				return err
			}
			return c.promote(ctx, since, true)
		},
	}
}

// promote makes the standby the primary. The one before does not run any more: it has
// stopped since a time, and with lossy the standby lacks what it wrote last.
// The application then makes its folders what the new primary's tables say, and
// the second site goes on with a new standby.
func (c *chaos) promote(ctx context.Context, since time.Time, lossy bool) error {
	former := c.site.source.Primary
	if err := c.site.standby().Promote(ctx); err != nil {
		return err
	}
	c.site.source.Primary = c.site.standby()
	if err := c.site.link(primaryLink, c.site.source.Primary); err != nil {
		return err
	}
	c.site.source.DB.Reset()
	c.farm.History.Jumped(since, lossy)
	if err := c.writer.rebuild(ctx, c.farm.Restore); err != nil {
		return err
	}
	if err := c.tick(ctx); err != nil {
		return err
	}
	if err := c.site.addStandby(ctx); err != nil {
		return err
	}
	c.journal.say("       %s was promoted, a new standby follows", c.site.source.Primary.Dir())
	if err := c.follow(ctx, c.site.standby()); err != nil {
		return err
	}
	return former.Stop(ctx)
}

// follow makes the second site read from another server.
func (c *chaos) follow(ctx context.Context, server *servers.Postgres) error {
	if err := c.site.link(followLink, server); err != nil {
		return err
	}
	// Sessions stay where they are; those of others come back to the same
	// server.
	return c.endSessionsAtSource(ctx)
}

// tick takes a tick at the primary, so that the timeline that has begun is known to
// whoever is built from it: a timeline that is lost as a whole, with all of its
// ticks, would make readers start over, and what is counted here ends with it.
func (c *chaos) tick(ctx context.Context) error {
	for {
		id, err := eventlog.Tick(ctx, c.site.source.DB, true)
		if err == nil && id > 0 {
			return nil
		}
		if err != nil && !lostConnection(err) {
			return err
		}
		if err := pause.For(ctx, retryPause); err != nil {
			return err
		}
	}
}
