package registry

import (
	"context"
	_ "embed"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

var (
	//go:embed sweep_page.sql
	sweepPageSQL string
	//go:embed sweep.sql
	sweepSQL string
)

const sweepPage = 10_000

// swept is a claim that was given back for a dead process.
type swept struct {
	job    Job
	claim  *uuid.UUID // nil: its job died before it claimed
	queued bool
}

// sweepDead hands on what dead processes had in hand, and then removes their
// rows. First the jobs that are believed to be running there, which is nearly
// everything and soon done; a job may have died before it claimed. Then every
// claim that is left, by a walk through the registry. Dying half-way is
// harmless: the rows stay dead, and whoever looks next begins again.
//
// Jobs are looked for also when nobody is dead: a process that was taken for
// dead can wake, fetch jobs, and be killed before it finds out that its row is
// gone.
func (p *Process) sweepDead(ctx context.Context) error {
	rows, err := p.cfg.Pool.Query(ctx, "SELECT id FROM casq.processes WHERE dead_at IS NOT NULL")
	if err != nil {
		return fmt.Errorf("list dead processes: %w", err)
	}
	dead, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return fmt.Errorf("list dead processes: %w", err)
	}
	if err := p.sweepJobs(ctx); err != nil {
		return err
	}
	if len(dead) == 0 {
		return nil
	}
	if err := p.sweepClaims(ctx); err != nil {
		return err
	}
	if _, err := p.cfg.Pool.Exec(ctx, "DELETE FROM casq.processes WHERE id = ANY ($1) AND dead_at IS NOT NULL", dead); err != nil {
		return fmt.Errorf("remove dead processes: %w", err)
	}
	return nil
}

// sweepJobs hands on the things of the jobs that were running, and only then
// writes the jobs off: dying in between repeats the first half.
func (p *Process) sweepJobs(ctx context.Context) error {
	for {
		tokens, jobs, err := p.cfg.Queue.Orphans(ctx)
		if err != nil || len(jobs) == 0 {
			return err
		}
		slices.SortFunc(tokens, compareTokens)
		var kinds, keys []string
		for i, t := range tokens {
			if i > 0 && t.Kind == tokens[i-1].Kind && t.ResourceID == tokens[i-1].ResourceID {
				continue
			}
			kinds, keys = append(kinds, t.Kind), append(keys, t.ResourceID)
		}
		if err := p.sweepRows(ctx, kinds, keys); err != nil {
			return fmt.Errorf("hand on jobs of dead processes: %w", err)
		}
		if err := p.cfg.Queue.Abandon(ctx, jobs); err != nil {
			return fmt.Errorf("write off jobs of dead processes: %w", err)
		}
	}
}

func (p *Process) sweepClaims(ctx context.Context) error {
	kind, key := "", ""
	for {
		kinds, keys, next, err := p.claimedPage(ctx, kind, key)
		if err != nil {
			return fmt.Errorf("look for claims of dead processes: %w", err)
		}
		if len(kinds) > 0 {
			if err := p.sweepRows(ctx, kinds, keys); err != nil {
				return fmt.Errorf("hand on claims of dead processes: %w", err)
			}
		}
		if next == nil {
			return nil
		}
		kind, key = next.Kind, next.ResourceID
	}
}

// claimedPage returns the claimed rows of the page beyond (kind, key), and the
// page's last key; nil when there was none.
func (p *Process) claimedPage(ctx context.Context, kind, key string) (kinds, keys []string, last *Token, err error) {
	rows, err := p.cfg.Pool.Query(ctx, sweepPageSQL, kind, key, sweepPage)
	if err != nil {
		return nil, nil, nil, err
	}
	var t Token
	var claimed bool
	_, err = pgx.ForEachRow(rows, []any{&t.Kind, &t.ResourceID, &claimed}, func() error {
		if claimed {
			kinds, keys = append(kinds, t.Kind), append(keys, t.ResourceID)
		}
		last = &Token{Kind: t.Kind, ResourceID: t.ResourceID}
		return nil
	})
	return kinds, keys, last, err
}

func (p *Process) sweepRows(ctx context.Context, kinds, keys []string) error {
	var given []swept
	err := pgx.BeginTxFunc(ctx, p.cfg.Pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockSQL, kinds, keys); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, sweepSQL, kinds, keys, p.cfg.MaxAttempts)
		if err != nil {
			return err
		}
		given, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (swept, error) {
			var s swept
			err := row.Scan(&s.job.Kind, &s.job.ResourceID, &s.job.Version, &s.job.Deleted, &s.claim, &s.queued)
			return s, err
		})
		if err != nil {
			return err
		}
		var jobs []Job
		for _, s := range given {
			if s.queued {
				jobs = append(jobs, s.job)
			}
		}
		if len(jobs) == 0 {
			return nil
		}
		return p.cfg.Queue.Insert(ctx, tx, jobs, false)
	})
	if err != nil || p.cfg.Swept == nil {
		return err
	}
	for _, s := range given {
		if !s.queued && s.claim != nil {
			p.cfg.Swept(ctx, s.job.Kind, s.job.ResourceID, *s.claim)
		}
	}
	return nil
}
