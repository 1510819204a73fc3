package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"casq/eventlog"
	"casq/internal/pause"
)

// state is what the second site has left to do, as far as it says so itself.
// It decides when to compare, never what is right.
type state struct {
	tick      int64 // that all cursors have come to; -1: one is inside a step, or not there
	position  string
	resources int // neither synced nor removed
	claims    int
	jobs      int // available, running or pending
	runs      int // of reconcile, not finished
	staging   int // entries in the staging of both targets
	builds    int // of the first site, that have not ended
	counters  int // of the first site, that are not what its table says, or are recounted
	retryIn   time.Duration
}

func (s state) String() string {
	return fmt.Sprintf("%s; resources %d, claims %d, jobs %d, reconcile runs %d, staging %d, counters %d, builds %d",
		s.position, s.resources, s.claims, s.jobs, s.runs, s.staging, s.counters, s.builds)
}

func (s state) quiet(needed int64) bool {
	return s.tick >= needed && s.resources+s.claims+s.jobs+s.runs+s.staging+s.counters+s.builds == 0
}

func (c *chaos) state(ctx context.Context) (state, error) {
	var s state
	var retry float64
	err := c.site.home.DB.QueryRow(ctx, checkSQL.State, []string{"registry", recorderName}).Scan(
		&s.tick, &s.position, &s.resources, &s.claims, &s.jobs, &s.runs, &retry)
	if err != nil {
		return s, fmt.Errorf("ask home what is left to do: %w", err)
	}
	if err := c.site.source.DB.QueryRow(ctx, checkSQL.OpenCounters).Scan(&s.counters); err != nil {
		return s, fmt.Errorf("ask the first site for its counters: %w", err)
	}
	if s.builds, err = c.farm.Open(ctx); err != nil {
		return s, err
	}
	s.retryIn = time.Duration(retry * float64(time.Second))
	for _, target := range []string{targetFiles, targetRepositories} {
		entries, err := filepath.Glob(c.work.path(target, stagingFolder, "*", "*")) // the mark, and rooms, stay
		if err != nil {
			return s, err
		}
		s.staging += len(entries)
	}
	return s, nil
}

const (
	pollEvery = 200 * time.Millisecond
	tellEvery = 5 * time.Second
)

// quiesce waits until nothing is left to do. It is a violation when nothing has
// moved for too long; a try that is due later is waited for.
func (c *chaos) quiesce(ctx context.Context) ([]violation, error) {
	needed, err := c.needed(ctx)
	if err != nil {
		return nil, err
	}
	began, told := time.Now(), time.Now()
	var last string
	moved := time.Now()
	for {
		s, err := c.state(ctx)
		if err != nil && !lostConnection(err) {
			return nil, err
		}
		if err == nil && s.quiet(needed) {
			c.journal.say("quiet after %.1f s: %s", time.Since(began).Seconds(), s)
			return nil, nil
		}
		if s.String() != last || s.retryIn > 0 {
			last, moved = s.String(), time.Now()
		}
		if time.Since(told) > tellEvery {
			c.journal.say("waiting: tick %d is needed; %s; next try in %.0f s", needed, s, s.retryIn.Seconds())
			told = time.Now()
		}
		if time.Since(moved) > c.cfg.stall || time.Since(began) > c.cfg.patience {
			text := fmt.Sprintf("not quiet %.0f s after the last fault: tick %d is needed; %s", time.Since(began).Seconds(), needed, s)
			return []violation{{text: text}}, c.preserve(ctx, stalled)
		}
		if err := pause.For(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}

// needed forces a tick and returns the first one that shows as much: a stored
// position does not move over ticks without events.
func (c *chaos) needed(ctx context.Context) (needed int64, err error) {
	for {
		forced, err := eventlog.Tick(ctx, c.site.source.DB, true)
		if err == nil && forced > 0 {
			err = c.site.source.DB.QueryRow(ctx, checkSQL.Needed, forced).Scan(&needed)
			return needed, err
		}
		if err != nil && !lostConnection(err) {
			return 0, err
		}
		if err := pause.For(ctx, retryPause); err != nil {
			return 0, err
		}
	}
}

// stagingFolder is where a target has what is not in place yet, and the mark by
// which it is known again.
const stagingFolder = ".casq"

func isMark(path string) bool { return filepath.Base(path) == markName }

// markName is the file that a target is known by.
const markName = "target"

// walk visits what is below a target or source, without staging.
func walk(root string, visit func(path string, entry fs.DirEntry) error) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil || rel == ".":
			return err
		case rel == stagingFolder:
			return fs.SkipDir
		}
		return visit(rel, entry)
	})
}
