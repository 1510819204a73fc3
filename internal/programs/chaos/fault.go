package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// fault is something that goes wrong.
type fault struct {
	name string
	// draw decides all that is left to chance, when the schedule is made.
	draw func(r *rand.Rand, cfg config) injection
	// watched says that it is only for worlds that have the event triggers.
	watched bool
}

// injection is a fault that has been decided on.
type injection struct {
	what  string   // for the log
	needs []string // resources that it has for itself
	run   func(ctx context.Context, c *chaos) error
}

// faults are all that are injected. Another one is a line here.
var faults = []fault{
	{name: "kill a worker", draw: killWorker},
	{name: "kill all followers", draw: killFollowers},
	{name: "freeze a worker", draw: freezeWorker},
	{name: "kill at a point", draw: killAtPoint},
	{name: "freeze at a point", draw: freezeAtPoint},
	{name: "end sessions at home", draw: endSessionsAtHome},
	{name: "end sessions at the source", draw: endSessionsAtSource},
	{name: "restart home", draw: restartHome},
	{name: "restart the primary", draw: restartPrimary},
	{name: "restart the standby", draw: restartStandby},
	{name: "freeze home", draw: freezeHome},
	{name: "freeze the standby", draw: freezeStandby},
	{name: "hang the standby", draw: hangStandby},
	{name: "pause replay", draw: pauseReplay},
	{name: "fail over", draw: failOver},
	{name: "fail over, losing commits", draw: failOverLosing},
	{name: "fail over, losing what was read", draw: failOverForgetting},
	{name: "flush Redis", draw: flushRedis},
	{name: "restart Redis", draw: restartRedis},
	{name: "freeze Redis", draw: freezeRedis},
	{name: "spoil a file", draw: spoilFile},
	{name: "spoil a mirror", draw: spoilMirror},
	{name: "compare", draw: compareSites},
	{name: "swap a target", draw: swapTarget},
	{name: "swap a source", draw: swapSource},
	{name: "alter a table", draw: alterTable},
	{name: "rewrite a table", draw: vacuumFull},
	{name: "try what is refused", draw: refuse, watched: true},
	{name: "detach a partition", draw: detachPartition, watched: true},
}

// planned is an injection with its time since the start.
type planned struct {
	at   time.Duration
	name string
	injection
}

// plan makes the schedule, from the configuration alone: all faults in any
// order, again and again, with random pauses.
func plan(cfg config) []planned {
	r := rand.New(rand.NewPCG(cfg.seed, 0xfa017))
	var all []planned
	at := cfg.every / 2
	for len(cfg.faults) > 0 {
		for _, i := range r.Perm(len(cfg.faults)) {
			injection := cfg.faults[i].draw(r, cfg)
			if at >= cfg.duration {
				return all
			}
			all = append(all, planned{at, cfg.faults[i].name, injection})
			at += cfg.every/2 + between(r, 0, cfg.every)
		}
	}
	return nil
}

// between draws a duration, whole milliseconds.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)/int64(time.Millisecond)+1))*time.Millisecond
}

// inject waits for what the fault needs, and does it.
func (c *chaos) inject(ctx context.Context, p planned) error {
	release := c.resources.hold(p.needs...)
	defer release()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.journal.say("fault  %s", p.what)
	if err := p.run(ctx, c); err != nil {
		return fmt.Errorf("inject a fault (%s): %w", p.what, err)
	}
	c.injected.Add(1)
	return nil
}
