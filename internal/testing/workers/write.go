package workers

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Writers of [Group.Write].
const (
	writers = 3
	between = 20 * time.Millisecond  // two commits of one of them
	late    = 300 * time.Millisecond // how long one of them has its transaction open
)

// Write commits events until stop is closed, from several connections; one of
// them commits late each time, after events that began after its own.
func (c *Group) Write(ctx context.Context, stop <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range writers {
		group.Go(func() error {
			for n := 0; !closed(ctx, stop, between); n++ {
				if err := c.change(ctx, i*writers+n%writers); err != nil {
					return fmt.Errorf("write: %w", err)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		for !closed(ctx, stop, between) {
			if err := c.changeLate(ctx, stop); err != nil {
				return fmt.Errorf("write, and commit late: %w", err)
			}
		}
		return nil
	})
	return group.Wait()
}

const changeSQL = "UPDATE workers.resources SET n = n + 1 WHERE name = 'resource ' || $1::int"

func (c *Group) change(ctx context.Context, resource int) error {
	_, err := c.cfg.DB.Exec(ctx, changeSQL, resource+1)
	return err
}

// lateResource is none of the others': they would wait for it.
const lateResource = 20

func (c *Group) changeLate(ctx context.Context, stop <-chan struct{}) error {
	tx, err := c.cfg.DB.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // a no-op after the commit
	if _, err := tx.Exec(ctx, changeSQL, lateResource); err != nil {
		return err
	}
	closed(ctx, stop, late)
	return tx.Commit(ctx)
}

// closed waits, and tells whether it is time to stop.
func closed(ctx context.Context, stop <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-stop:
		return true
	case <-timer.C:
		return false
	}
}
