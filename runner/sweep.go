package runner

import (
	"context"
	"errors"
	"fmt"

	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
)

// overdue is an attempt that has to end, and why.
type overdue struct {
	id      int64
	attempt int32
	status  string
	why     string
}

// sweep ends attempts that are overdue, again and again. Each is ended by a statement of
// its own which asks whether that is still so: any number of processes may do it.
func (c *Coordinator) sweep(ctx context.Context) {
	pause.Every(ctx, c.options.SweepEvery, func() { c.round(ctx, "end what is overdue", c.sweepOnce) })
}

// tidy does what may as well be done later, again and again.
func (c *Coordinator) tidy(ctx context.Context) {
	pause.Every(ctx, c.options.SweepEvery, func() { c.round(ctx, "tidy up", c.tidyOnce) })
}

func (c *Coordinator) tidyOnce(ctx context.Context) error {
	return errors.Join(c.compactTraces(ctx), c.expireArtifacts(ctx))
}

func (c *Coordinator) sweepOnce(ctx context.Context) error {
	defer c.options.Hook("swept")
	err := errors.Join(c.bringBack(ctx), c.endOverdue(ctx), c.admitHeld(ctx))
	c.contacts.failed(err)
	return err
}

// admitHeld lets builds into the queue that are held though there is room. A project's
// builds do that as they end, but may miss one that somebody has locked, or that an old
// snapshot does not show; and one that is deleted does not.
func (c *Coordinator) admitHeld(ctx context.Context) error {
	rows, err := c.primary.Query(ctx, buildSQL.Roomy)
	if err != nil {
		return fmt.Errorf("find builds that are held without need: %w", err)
	}
	projects, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("find builds that are held without need: %w", err)
	}
	for _, project := range projects {
		if _, err := c.change(ctx, nil, buildSQL.Admit, project); errors.Is(err, errHeld) {
			c.log.WarnContext(ctx, "builds are held though there is room, and wait until a transaction ends that holds their project", "project", project)
		} else if err != nil {
			return fmt.Errorf("let in builds of project %d: %w", project, err)
		}
	}
	return nil
}

// bringBack has the time begin now that began in the future of the database's clock.
func (c *Coordinator) bringBack(ctx context.Context) error {
	if _, err := c.change(ctx, nil, buildSQL.BringBack, c.options.StartWithin.Seconds()); err != nil {
		return fmt.Errorf("bring builds back from the future: %w", err)
	}
	return nil
}

// endOverdue goes on after what it cannot end.
func (c *Coordinator) endOverdue(ctx context.Context) error {
	// Silence counts only while it could have been broken.
	hears := c.contacts.heardFor() > c.options.SilentAfter
	rows, err := c.primary.Query(ctx, buildSQL.Overdue,
		c.options.LateAfter.Seconds(), (c.options.SilentAfter + c.options.ContactsEvery).Seconds(), hears)
	if err != nil {
		return fmt.Errorf("find attempts that are overdue: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o overdue, err error) {
		err = row.Scan(&o.id, &o.attempt, &o.status, &o.why)
		return o, err
	})
	if err != nil {
		return fmt.Errorf("find attempts that are overdue: %w", err)
	}
	var failed error
	for _, o := range all {
		if err := c.end(ctx, o); err != nil {
			failed = fmt.Errorf("end build %d: %w", o.id, err)
		}
	}
	return failed
}

func (c *Coordinator) end(ctx context.Context, o overdue) error {
	var reason, message string
	switch o.why {
	case "undelivered":
		c.log.WarnContext(ctx, "a build's runner showed no sign of life, it is handed out again", "build", o.id, "attempt", o.attempt)
		return c.endUnlessHeld(ctx, o, buildSQL.Requeue, o.id, o.attempt)
	case "late":
		reason, message = "job_execution_timeout", "it took longer than it may"
	default:
		reason, message = "runner_system_failure", "its runner fell silent"
	}
	c.log.WarnContext(ctx, "a build is overdue, it is ended", "build", o.id, "attempt", o.attempt, "why", o.why)
	return c.endUnlessHeld(ctx, o, buildSQL.Overrun, o.id, o.attempt, reason, message)
}

// endUnlessHeld leaves an attempt for the next round when a transaction holds its row, or
// one that is changed with it.
func (c *Coordinator) endUnlessHeld(ctx context.Context, o overdue, sql string, args ...any) error {
	ended, err := c.change(ctx, nil, sql, args...)
	if errors.Is(err, errHeld) || (err == nil && ended == 0) {
		c.log.WarnContext(ctx, "an overdue build is left: a transaction holds its row or has just changed it", "build", o.id, "attempt", o.attempt, "err", err)
		return nil
	}
	return err
}
