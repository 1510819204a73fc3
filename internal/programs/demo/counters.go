package main

import (
	"context"
	"fmt"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
)

// recount is one of all projects at the primary site, in the middle of the
// changes.
type recounted struct {
	scan     int64
	state    string
	took     time.Duration
	counters int // at the end, and equal to their rows
}

// askRecount asks for it, as an operator does.
func (d *demo) askRecount(ctx context.Context) error {
	queue, err := jobs.NewQueue(d.primary.DB, d.cfg.Logger)
	if err != nil {
		return fmt.Errorf("ask for a recount: %w", err)
	}
	counting := jobs.NewCounting(queue)
	counters := counter.New(counter.Config{Home: d.primary.DB, Jobs: counting, Logger: d.cfg.Logger})
	recounts := recount.New(recount.Config{Home: d.primary.DB, Counters: counters, Jobs: counting, Logger: d.cfg.Logger})
	d.recount.scan, _, err = recounts.Refresh(ctx, recount.Request{Kind: "artifact", All: true})
	if err != nil {
		return fmt.Errorf("ask for a recount: %w", err)
	}
	return nil
}

// countersWait is how long counters may take after everything else.
const countersWait = 30 * time.Second

// awaitCounters returns when the recount is over and all is flushed, or after a
// while: what is wrong then is a difference.
func (d *demo) awaitCounters(ctx context.Context) error {
	deadline := time.Now().Add(countersWait)
	for {
		var took float64
		err := d.primary.DB.QueryRow(ctx, `SELECT state, coalesce(extract(epoch FROM finished_at - requested_at), 0)::float8
			FROM casq.refreshes WHERE scan = $1 AND scope_id IS NULL`, d.recount.scan).Scan(&d.recount.state, &took)
		if err != nil {
			return fmt.Errorf("find the recount: %w", err)
		}
		d.recount.took = time.Duration(took * float64(time.Second))
		differences, err := d.compareCounters(ctx)
		if err != nil || len(differences) == 0 || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// compareCounters compares each project's counter with its rows, and the build with what
// its runner has sent.
func (d *demo) compareCounters(ctx context.Context) (differences []string, err error) {
	if d.recount.state != "done" {
		differences = append(differences, "recount: it is "+d.recount.state)
	}
	rows, err := d.primary.DB.Query(ctx, demoSQL.Counters)
	if err != nil {
		return nil, fmt.Errorf("compare the counters: %w", err)
	}
	d.recount.counters = 0
	var scope, size, realSize string
	var items, realItems int64
	var same bool
	_, err = pgx.ForEachRow(rows, []any{&scope, &size, &items, &realSize, &realItems, &same}, func() error {
		d.recount.counters++
		if !same {
			differences = append(differences, fmt.Sprintf("counter of project %s: %s bytes in %d, its rows say %s in %d", scope, size, items, realSize, realItems))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compare the counters: %w", err)
	}
	more, err := d.compareBuild(ctx)
	return append(differences, more...), err
}

// text says what came of it.
func (r recounted) text() string {
	return fmt.Sprintf("each of %d projects' counters is sum(size) and count(*) of its artifacts; all were recounted in %.1f s while they changed",
		r.counters, r.took.Seconds())
}
