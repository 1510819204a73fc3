package registry

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"

	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

//go:embed sweep.sql
var sweepText string

// sweepSQL has the statements of sweep.sql.
var sweepSQL = queries.Parse[struct{ Page, Sweep, Ask, Over, Lost string }]("registry/sweep", sweepText)

const sweepPage = 10_000

// sweepDead hands on what dead processes had in hand, and then removes their
// rows. First the jobs that are believed to be running there, which is nearly
// everything and soon done; a job may have died before it claimed. Then every
// claim that is left, by a walk through the registry. Dying half-way is
// harmless: the rows stay dead, and the next sweep begins again.
//
// Jobs are swept also when no process is dead: one that was taken for
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

// sweepJobs hands on the resources of the jobs that were running, and only then
// writes the jobs off: dying in between repeats the first half.
func (p *Process) sweepJobs(ctx context.Context) error {
	for {
		tokens, jobs, err := p.cfg.Queue.Orphans(ctx)
		if err != nil || len(jobs) == 0 {
			return err
		}
		kinds, keys, newest := resources(tokens, jobs)
		if err := p.sweepRows(ctx, kinds, keys, newest); err != nil {
			return fmt.Errorf("hand on jobs of dead processes: %w", err)
		}
		if err := p.cfg.Queue.Abandon(ctx, jobs); err != nil {
			return fmt.Errorf("write off jobs of dead processes: %w", err)
		}
	}
}

// HandOn hands on the resource of a job that runs in this process's name, and that
// this process does not work on. A claim that the job's run had is given back first:
// the sweep would leave it alone for as long as this process lives. With
// it goes what was asked of the run in the name of newer jobs, which are ended by
// now: whichever job was swept last, this one's resource gets another.
func (p *Process) HandOn(ctx context.Context, token Token, job int64) error {
	_, err := p.cfg.Pool.Exec(ctx, `UPDATE casq.registry
		SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = claim, asked = false, swept_job = NULL
		WHERE kind = $1 AND resource_id = $2 AND claim_process = $3 AND claim_job = $4`,
		token.Kind, token.ResourceID, p.ID(), job)
	if err != nil {
		return fmt.Errorf("give back the claim of %s %q: %w", token.Kind, token.ResourceID, err)
	}
	return p.sweepRows(ctx, []string{token.Kind}, []string{token.ResourceID}, []*int64{&job})
}

// resources returns the resources of some jobs, in key order, each with its newest
// job.
func resources(tokens []Token, jobs []int64) (kinds, keys []string, newest []*int64) {
	order := make([]int, len(tokens))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(tokens[i].Kind, tokens[j].Kind), cmp.Compare(tokens[i].ResourceID, tokens[j].ResourceID), cmp.Compare(jobs[j], jobs[i]))
	})
	for n, i := range order {
		if n > 0 && tokens[i].Kind == kinds[len(kinds)-1] && tokens[i].ResourceID == keys[len(keys)-1] {
			continue
		}
		kinds, keys, newest = append(kinds, tokens[i].Kind), append(keys, tokens[i].ResourceID), append(newest, &jobs[i])
	}
	return kinds, keys, newest
}

func (p *Process) sweepClaims(ctx context.Context) error {
	kind, key := "", ""
	for {
		kinds, keys, next, err := p.claimedPage(ctx, kind, key)
		if err != nil {
			return fmt.Errorf("find claims of dead processes: %w", err)
		}
		if len(kinds) > 0 {
			if err := p.sweepRows(ctx, kinds, keys, make([]*int64, len(keys))); err != nil {
				return fmt.Errorf("hand on claims of dead processes: %w", err)
			}
		}
		if next == nil {
			return nil
		}
		kind, key = next.Kind, next.ResourceID
	}
}

// claimedPage returns the rows of the page beyond (kind, key) that dead processes have
// claimed, and the page's last key; nil when the page was empty.
func (p *Process) claimedPage(ctx context.Context, kind, key string) (kinds, keys []string, last *Token, err error) {
	rows, err := p.cfg.Pool.Query(ctx, sweepSQL.Page, kind, key, sweepPage)
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

// sweepRows hands on resources of dead processes, and removes the staging of those that
// no run will begin again. The others lose it to their next run. orphans are the
// jobs that led to the resources; nil: a claim did.
func (p *Process) sweepRows(ctx context.Context, kinds, keys []string, orphans []*int64) error {
	err := pgx.BeginTxFunc(ctx, p.cfg.Pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, claimSQL.Lock, kinds, keys); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sweepSQL.Ask, kinds, keys, orphans); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, sweepSQL.Sweep, kinds, keys, p.cfg.MaxAttempts, orphans)
		if err != nil {
			return err
		}
		var jobs []Job
		var job Job
		var queued bool
		_, err = pgx.ForEachRow(rows, []any{&job.Kind, &job.ResourceID, &job.Version, &job.Deleted, &queued}, func() error {
			if queued {
				jobs = append(jobs, job)
			}
			return nil
		})
		if err != nil || len(jobs) == 0 {
			return err
		}
		return p.cfg.Queue.Insert(ctx, tx, jobs, false)
	})
	if err != nil || p.cfg.Swept == nil {
		return err
	}
	return p.sweepStaging(ctx, kinds, keys)
}

func (p *Process) sweepStaging(ctx context.Context, kinds, keys []string) error {
	rows, err := p.cfg.Pool.Query(ctx, sweepSQL.Over, kinds, keys)
	if err != nil {
		return err
	}
	type resource struct {
		Kind, ResourceID string
		Claim            uuid.UUID
	}
	over, err := pgx.CollectRows(rows, pgx.RowToStructByPos[resource])
	if err != nil {
		return err
	}
	for _, o := range over {
		p.cfg.Swept(ctx, o.Kind, o.ResourceID, o.Claim)
	}
	return nil
}
