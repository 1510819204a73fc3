package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
)

// world is what a run has around it, from its beginning to its end. It follows
// from the seed.
type world struct {
	// watched says that a superuser has made the event triggers, which refuse some
	// DDL and are needed for partitioned tables: artifacts is one then.
	watched bool
	// sourceClock and homeClock are how far the servers' clocks are ahead of the
	// workers' and the application's. 0 is as likely as the others together.
	sourceClock, homeClock time.Duration
	// standbys draws how far each standby's clock is ahead of its primary's.
	standbys *rand.Rand
}

func worldOf(seed uint64) world {
	r := rand.New(rand.NewPCG(seed, 0x3071d))
	return world{watched: r.IntN(2) == 0, sourceClock: anyClock(r), homeClock: anyClock(r), standbys: r}
}

// anyClock draws what lies well beyond all that is waited for here.
func anyClock(r *rand.Rand) time.Duration {
	off := between(r, 30*time.Second, 10*time.Minute)
	return []time.Duration{0, 0, off, -off}[r.IntN(4)]
}

// startStandby starts a standby, whose clock the source has after a promotion.
func (s *site) startStandby(ctx context.Context, name string) (*servers.Postgres, error) {
	clock := anyClock(s.world.standbys)
	standby, err := s.source.Primary.Standby(ctx, servers.StandbyOptions{ApplicationName: name, ClockAhead: clock})
	if errors.Is(err, servers.ErrNotInstalled) {
		s.journal.say("left out: a clock %s off (%v)", clock, err)
		return s.source.Primary.Standby(ctx, servers.StandbyOptions{ApplicationName: name})
	}
	if err == nil && clock != 0 {
		s.journal.say("       the clock of %s is %s ahead of its primary's", standby.Dir(), clock)
	}
	return standby, err
}

// start starts a site with a clock of its own, with the machine's where that cannot
// be had.
func (s *site) start(ctx context.Context, clock time.Duration, o sites.Options) (*sites.Site, error) {
	o.Database, o.Role, o.Postgres.Clock = databaseName, role, clock
	started, err := sites.Start(ctx, o)
	if errors.Is(err, servers.ErrNotInstalled) && clock != 0 {
		s.journal.say("left out: a clock %s off (%v)", clock, err)
		o.Postgres.Clock = 0
		return sites.Start(ctx, o)
	}
	return started, err
}
