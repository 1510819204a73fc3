package reconcile

import (
	"context"
	"fmt"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// The verdicts of rowsSQL.Compare.
const (
	isCreated = "created"
	isLate    = "late"
)

// difference is a resource of a page of which the registry says something else.
type difference struct {
	Place   int // in the page, from 1
	Verdict string
}

// resources goes through what the source has of a kind, page by page, and through the rows
// along with it where that can be.
func (run *takenRun) resources(ctx context.Context, kind eventlog.Kind, after *string) error {
	source := run.sourcePages(ctx, kind, after)
	defer source.stop()
	var p *page
	m, begun := run.merged[kind.Name]
	if !begun {
		m = &merged{over: after != nil}
		run.merged[kind.Name] = m
	}
	if !m.over {
		left, err := run.merge(ctx, kind, source, after, m)
		if left == nil || err != nil {
			return err
		}
		p, m.over = left, true
	}
	for {
		var err error
		if p == nil {
			p, err = run.nextPage(ctx, source)
		}
		if err != nil {
			return err
		}
		if !p.listed {
			return run.commit(ctx, progress{resourcesPhase, &kind.Name, after}, kind.Name, &found{unlisted: true}, nil)
		}
		if p.last == nil {
			return nil
		}
		p = p.usable()
		f := found{examined: len(p.keys)}
		if err := run.resourcesPage(ctx, kind, p, progress{resourcesPhase, &kind.Name, p.last}, &f, &f.late); err != nil {
			return err
		}
		after, p = p.last, nil
	}
}

// sourcePages reads the pages of a kind beyond a key. The last one is empty, or not listed.
func (run *takenRun) sourcePages(ctx context.Context, kind eventlog.Kind, after *string) *ahead[*page] {
	return readAhead(ctx, func(ctx context.Context) (*page, bool, error) {
		wanted, err := registry.ReadSelection(ctx, run.cfg.Home, kind.Name)
		if err != nil {
			return nil, false, err
		}
		p, err := resourcesPage(ctx, run.cfg.Source, wanted, after, run.portion.Size())
		if err != nil {
			return nil, false, err
		}
		after = p.last
		return p, p.listed && p.last != nil, nil
	})
}

// nextPage takes a page that may be acted on.
func (run *takenRun) nextPage(ctx context.Context, source *ahead[*page]) (*page, error) {
	p, err := source.next(ctx)
	if err != nil || !p.listed {
		return p, err
	}
	if err := run.fit(ctx, p); err != nil {
		return nil, err
	}
	if p.last != nil {
		run.cfg.Hook("reconcile:read")
	}
	return p, nil
}

// resourcesPage asks for what a page shows and the registry does not say. Where the two
// agree, nothing is written, and the cursor is not waited for. late is counted what is left
// to the log.
func (run *takenRun) resourcesPage(ctx context.Context, kind eventlog.Kind, p *page, to progress, f *found, late *int) error {
	if err := run.comparePage(ctx, kind, p, to, f, late); err != nil {
		return fmt.Errorf("compare resources of kind %s up to %q: %w", kind.Name, *p.last, err)
	}
	return nil
}

func (run *takenRun) comparePage(ctx context.Context, kind eventlog.Kind, p *page, to progress, f *found, late *int) error {
	differ, err := run.compare(ctx, p)
	if err != nil {
		return err
	}
	if len(differ) > 0 {
		waited, err := run.passed(ctx, p)
		if err == nil && waited {
			differ, err = run.compare(ctx, p)
		}
		if err == nil {
			err = run.leaveComing(ctx, p, differ)
		}
		if err != nil {
			return err
		}
	}
	if len(differ) == 0 {
		return run.commit(ctx, to, kind.Name, f, nil)
	}
	inPlace := run.inPlace(ctx, kind, p, differ)
	run.cfg.Hook("reconcile:compared")
	return run.commit(ctx, to, kind.Name, f, func(tx pgx.Tx) error {
		return run.applyPage(ctx, tx, p, differ, inPlace, f, late)
	})
}

// leaveComing leaves resources to the log that have an event no tick has delivered.
func (run *takenRun) leaveComing(ctx context.Context, p *page, differ []difference) error {
	keys := make([]string, len(differ))
	for i, d := range differ {
		keys[i] = p.keys[d.Place-1]
	}
	coming, err := p.coming(ctx, run.cfg.Source, keys)
	for i, key := range keys {
		if coming[key] {
			differ[i].Verdict = isLate
		}
	}
	return err
}

func (run *takenRun) applyPage(ctx context.Context, tx pgx.Tx, p *page, differ []difference, inPlace map[string]bool, f *found, late *int) error {
	places := make([]int, 0, len(differ))
	created := make(map[string]bool)
	for _, d := range differ {
		if d.Verdict != isLate {
			places = append(places, d.Place-1)
		}
		created[p.keys[d.Place-1]] = d.Verdict == isCreated
	}
	if err := lockFloor(ctx, tx, p); err != nil {
		return err
	}
	jobs, err := applyResources(ctx, tx, p.only(places), false, run.reason == registry.Lost || run.reason == registry.Pruned || run.reason == registry.Failover)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		switch {
		case !created[j.ResourceID]:
			f.changed++
		case inPlace[j.ResourceID]:
			f.adopted++
		default:
			f.created++
		}
	}
	// The others were written by the log since they were compared.
	*late = len(differ) - len(jobs)
	return run.queue(ctx, tx, jobs)
}

func (run *takenRun) compare(ctx context.Context, p *page) ([]difference, error) {
	rows, err := run.cfg.Home.Query(ctx, rowsSQL.Compare, p.kind, p.keys, p.payloads, p.timeline, p.tick)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	differ, err := pgx.CollectRows(rows, pgx.RowToStructByPos[difference])
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	return differ, nil
}

// inPlace tells which of the resources that are to be created have something in place,
// before any row is locked.
func (run *takenRun) inPlace(ctx context.Context, kind eventlog.Kind, p *page, differ []difference) map[string]bool {
	there := make(map[string]bool)
	if run.cfg.InPlace == nil {
		return there
	}
	for _, d := range differ {
		if key := p.keys[d.Place-1]; d.Verdict == isCreated && run.cfg.InPlace(ctx, kind, key) {
			there[key] = true
		}
	}
	return there
}
