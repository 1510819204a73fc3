package main

import (
	"cmp"
	"io"
	"os"
	"slices"
	"time"
)

// config says what is injected, for how long, and who watches.
type config struct {
	seed     uint64
	duration time.Duration
	worker   string // the program that is a worker when started with workerArgument
	out      io.Writer

	every   time.Duration // mean time between two faults; 2 s
	writers int           // at once, beside the one that commits late; 3
	pause   time.Duration // mean pause of a writer between two operations; 100 ms
	// ttl is the time for which leases and claims are good; 3 s. Frozen
	// processes stay frozen for longer.
	ttl time.Duration
	// stall is how long nothing may move at the end before what is left to do
	// is called stuck; a minute. patience bounds the wait in any case; 10
	// minutes.
	stall, patience time.Duration
	temporary       string // where the folder of the run is made; os.TempDir
	faults          []fault
	world           world // follows from the seed
}

func (c config) withDefaults() config {
	c.every = cmp.Or(c.every, 2*time.Second)
	c.writers = cmp.Or(c.writers, 3)
	c.pause = cmp.Or(c.pause, 100*time.Millisecond)
	c.ttl = cmp.Or(c.ttl, 3*time.Second)
	c.stall = cmp.Or(c.stall, time.Minute)
	c.patience = cmp.Or(c.patience, 10*time.Minute)
	c.temporary = cmp.Or(c.temporary, os.TempDir())
	c.world = worldOf(c.seed)
	if c.faults == nil {
		c.faults = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f.watched && !c.world.watched })
	}
	return c
}
