package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/internal/database"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
)

// recountEvery is how often counters are recounted, on average.
const recountEvery = 2 * time.Second

// recount asks for recounts, of all scopes or of one, until stop is closed. A
// request that is lost with a server has not been made.
func (c *chaos) recount(ctx context.Context, stop <-chan struct{}) error {
	r := rand.New(rand.NewPCG(c.cfg.seed, 1<<32))
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(recountEvery/2 + rand.N(recountEvery)):
		}
		request := recount.Request{Kind: kindArtifact, All: r.IntN(2) == 0}
		if !request.All {
			request.Scopes, request.Compare = []string{"0", "1", "2", "3"}[r.IntN(4):], r.IntN(2) == 0
		}
		// As a process of its own does, which has just asked for the database's time.
		queue, err := jobs.NewQueue(c.site.source.DB, quiet)
		if err != nil {
			return err
		}
		counting := jobs.NewCounting(queue)
		counters := counter.New(counter.Config{Home: c.site.source.DB, Jobs: counting, Logger: quiet})
		recounts := recount.New(recount.Config{Home: c.site.source.DB, Counters: counters, Jobs: counting, Logger: quiet})
		_, _, err = recounts.Refresh(ctx, request)
		// Passes: artifacts was altered meanwhile, which the recount's snapshot does not show.
		if err != nil && !mayRepeat(err) && !database.Passes(err) && !errors.Is(err, recount.ErrNoScope) && !errors.Is(err, recount.ErrLocked) {
			return fmt.Errorf("ask for a recount: %w", err)
		}
	}
}

// checkCounters compares the counters with the application's table. A recount
// that has corrected one shows that it had been wrong before.
func checkCounters(ctx context.Context, c *chaos) (found []violation, err error) {
	rows, err := c.site.source.DB.Query(ctx, checkSQL.Counters)
	if err != nil {
		return nil, err
	}
	var text string
	_, err = pgx.ForEachRow(rows, []any{&text}, func() error {
		found = append(found, violation{text: text})
		return nil
	})
	if err != nil {
		return nil, err
	}
	var scans, parts, counters int
	err = c.site.source.DB.QueryRow(ctx, `SELECT count(DISTINCT scan), count(DISTINCT scan) FILTER (WHERE part_of IS NOT NULL), count(*)
		FROM casq.refresh_status WHERE state = 'done' AND scope_id IS NOT NULL`).Scan(&scans, &parts, &counters)
	c.journal.say("%d scans, %d of them parts of a recount, of %d counters", scans, parts, counters)
	return found, err
}
