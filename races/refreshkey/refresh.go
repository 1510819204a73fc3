package refreshkey

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
)

//go:embed refresh.sql
var refreshText string

// refreshSQL has the statements of refresh.sql.
var refreshSQL = queries.Parse[struct{ Take, Batch, Zero, Add string }]("refreshkey/refresh", refreshText)

var (
	//go:embed initiate.lua
	initiateLua string
	//go:embed finalize.lua
	finalizeLua string

	initiateScript = redis.NewScript(initiateLua)
	finalizeScript = redis.NewScript(finalizeLua)
)

// Ask asks for a recount of a project. asked is false while there is one: the
// request is dropped.
func (c *Counters) Ask(ctx context.Context, project int64) (asked bool, err error) {
	tag, err := c.cfg.DB.Exec(ctx, "INSERT INTO published_refreshes (project) VALUES ($1) ON CONFLICT DO NOTHING", project)
	if err != nil {
		return false, fmt.Errorf("ask for a recount of project %d: %w", project, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Scan takes up the next recount that waits for a worker, and increments by one
// batch of its artifacts. found is false when there is none.
func (c *Counters) Scan(ctx context.Context) (found bool, err error) {
	r, err := c.take(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take up a recount: %w", err)
	}
	c.cfg.Hook("scan:started")
	if err := c.batch(ctx, r); err != nil {
		return true, fmt.Errorf("recount project %d: %w", r.project, err)
	}
	return true, nil
}

type refresh struct {
	project, lastID, upToID int64
}

// take begins a recount that was not begun yet: whoever does sets the counter to
// zero.
func (c *Counters) take(ctx context.Context) (r refresh, err error) {
	err = pgx.BeginFunc(ctx, c.cfg.DB, func(tx pgx.Tx) error {
		var begins bool
		err := tx.QueryRow(ctx, refreshSQL.Take, c.cfg.Stale).Scan(&r.project, &r.lastID, &r.upToID, &begins)
		if err != nil || !begins {
			return err
		}
		if _, err := tx.Exec(ctx, refreshSQL.Zero, r.project); err != nil {
			return err
		}
		return c.initiate(ctx, r.project)
	})
	return r, err
}

func (c *Counters) initiate(ctx context.Context, project int64) error {
	if c.cfg.Zero {
		return c.cfg.Redis.Del(ctx, c.key(project)).Err()
	}
	err := initiateScript.Run(ctx, c.cfg.Redis, []string{c.key(project), c.indicatorKey(project)}, int(keysTTL.Seconds())).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

func (c *Counters) batch(ctx context.Context, r refresh) error {
	rows, err := c.cfg.DB.Query(ctx, refreshSQL.Batch, r.project, r.lastID, r.upToID, c.cfg.Batch)
	if err != nil {
		return err
	}
	increments, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i Increment, err error) {
		i.Project = r.project
		return i, row.Scan(&i.Artifact, &i.Amount)
	})
	if err != nil {
		return err
	}
	c.cfg.Hook("scan:read")
	if len(increments) == 0 {
		return c.state(ctx, c.cfg.DB, r, "finalizing")
	}
	return pgx.BeginFunc(ctx, c.cfg.DB, func(tx pgx.Tx) error {
		r.lastID = increments[len(increments)-1].Artifact
		if err := c.state(ctx, tx, r, "pending"); err != nil {
			return err
		}
		return c.Add(ctx, increments...)
	})
}

// executor is a pool or a transaction.
type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func (c *Counters) state(ctx context.Context, db executor, r refresh, state string) error {
	_, err := db.Exec(ctx, "UPDATE published_refreshes SET state = $2, last_id = $3, updated_at = clock_timestamp() WHERE project = $1",
		r.project, state, r.lastID)
	return err
}

// Finalize ends the recounts whose delay has passed and returns their projects.
// Their bits are left to [Counters.CleanUp], which a job calls later.
func (c *Counters) Finalize(ctx context.Context) (projects []int64, err error) {
	rows, err := c.cfg.DB.Query(ctx, "SELECT project FROM published_refreshes WHERE state = 'finalizing' AND updated_at <= clock_timestamp() - $1::interval",
		c.cfg.FinalizeDelay)
	if err != nil {
		return nil, fmt.Errorf("find recounts to finalize: %w", err)
	}
	if projects, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
		return nil, fmt.Errorf("find recounts to finalize: %w", err)
	}
	for _, project := range projects {
		if err := c.finalize(ctx, project); err != nil {
			return nil, fmt.Errorf("finalize the recount of project %d: %w", project, err)
		}
	}
	return projects, nil
}

func (c *Counters) finalize(ctx context.Context, project int64) error {
	if !c.cfg.Zero {
		err := finalizeScript.Run(ctx, c.cfg.Redis, []string{c.key(project), c.refreshKey(project), c.indicatorKey(project)}).Err()
		if err != nil {
			return err
		}
	}
	c.cfg.Hook("finalize:moved")
	_, err := c.cfg.DB.Exec(ctx, "DELETE FROM published_refreshes WHERE project = $1", project)
	return err
}

// CleanUp deletes the bits of a project's last recount.
func (c *Counters) CleanUp(ctx context.Context, project int64) error {
	for {
		keys, err := c.cfg.Redis.SPopN(ctx, c.trackedKey(project), cleanupBatch).Result()
		if err == nil && len(keys) > 0 {
			err = c.cfg.Redis.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return fmt.Errorf("clean up after the recount of project %d: %w", project, err)
		}
		if len(keys) < cleanupBatch {
			return nil
		}
	}
}

// Recount recounts a project from beginning to end, with the delay, as the jobs
// do that follow each other.
func (c *Counters) Recount(ctx context.Context, project int64) error {
	if _, err := c.Ask(ctx, project); err != nil {
		return err
	}
	for found := true; found; {
		var err error
		if found, err = c.Scan(ctx); err != nil {
			return err
		}
	}
	if err := pause.For(ctx, c.cfg.FinalizeDelay); err != nil {
		return err
	}
	if _, err := c.Finalize(ctx); err != nil {
		return err
	}
	if err := c.Flush(ctx, project); err != nil {
		return err
	}
	return c.CleanUp(ctx, project)
}
