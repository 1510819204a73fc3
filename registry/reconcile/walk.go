package reconcile

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"casq/eventlog"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

//go:embed walk.sql
var walkText string

// walkSQL has the statements of walk.sql.
var walkSQL = queries.Parse[struct{ Placed, Neighbours, Synced, Unwanted, Orphans string }]("registry/reconcile/walk", walkText)

// Placed is a resource that is in place at a target.
type Placed struct {
	Key     string
	Changed time.Time // by the target's clock
}

// Target names what is in place below a prefix, beyond a key, in the order of
// keys.
type Target interface {
	Walk(ctx context.Context, prefix, after string, each func(Placed) error) error
}

const (
	// clockMargin is how far the clocks of home and target may be apart. It only
	// decides what is compared soon: in time everything is.
	clockMargin = time.Hour
	// mostOrphans is how many of a kind are named in a report.
	mostOrphans = 1000
)

// The verdicts of walkSQL.Placed.
const (
	isOrphan = "orphan"
	isBack   = "back"
)

// walk compares what is in place with the registry. A resource of no row, or one that
// was removed and is back, is unwanted; one that is not there, or was put there in a
// time of which home may have lost the end, is compared by content.
//
// A run puts a resource in place after its row has come, and the rows are read
// after the listing: what is listed without a row is an orphan.
func (run *takenRun) walk(ctx context.Context, kind eventlog.Kind, after *string) error {
	target := run.cfg.Targets[kind.Transfer]
	if target == nil {
		return nil
	}
	w := &walkOf{takenRun: run, kind: kind}
	if after != nil {
		w.from = *after
	}
	var placed error
	err := target.Walk(ctx, kind.Prefix, w.from, func(p Placed) error {
		placed = w.placed(ctx, p)
		return placed
	})
	switch {
	case placed != nil:
		return fmt.Errorf("walk through kind %s: %w", kind.Name, placed)
	case err != nil:
		return fmt.Errorf("walk through kind %s: %w", kind.Name, &targetError{err})
	}
	if err := w.page(ctx, nil); err != nil {
		return fmt.Errorf("walk through kind %s to the end: %w", kind.Name, err)
	}
	return nil
}

// walkOf is the walk through a kind.
type walkOf struct {
	*takenRun
	kind  eventlog.Kind
	from  string // up to here all is done
	keys  []string
	since []bool // whether they changed since something was lost
}

func (w *walkOf) placed(ctx context.Context, p Placed) error {
	w.keys = append(w.keys, p.Key)
	w.since = append(w.since, w.lostSince != nil && p.Changed.After(w.lostSince.Add(-clockMargin)))
	if len(w.keys) < w.portion.Size().Rows {
		return nil
	}
	return w.page(ctx, &p.Key)
}

// page compares what was named since the page before with the rows up to a key;
// nil is the end.
func (w *walkOf) page(ctx context.Context, upTo *string) error {
	w.cfg.Hook("reconcile:walked")
	todo, err := w.plan(ctx)
	if err != nil {
		return err
	}
	slices.Sort(w.keys) // a server may see the order of a few in another way
	if err := w.absentPages(ctx, upTo, todo); err != nil {
		return err
	}
	if upTo == nil && todo.examined == 0 && todo.empty() {
		return nil
	}
	last := w.from
	if todo.examined > 0 {
		last = w.keys[todo.examined-1]
	}
	if err := w.commitPage(ctx, progress{walkPhase, &w.kind.Name, &last}, todo); err != nil {
		return err
	}
	w.from, w.keys, w.since = last, w.keys[:0], w.since[:0]
	return nil
}

// absentPages finds rows without a resource. Where there are many between two
// resources that are in place, as after another target was mounted, all but the last
// page of them are committed here. Until that one the walk does not move: they
// may be checked twice, which does no harm.
func (w *walkOf) absentPages(ctx context.Context, upTo *string, todo *unwanted) error {
	for {
		full, err := w.absent(ctx, upTo, todo)
		if err != nil || !full {
			return err
		}
		if len(todo.checks.keys) < w.portion.Size().Rows {
			continue
		}
		if err := w.commitPage(ctx, w.reached, &unwanted{checks: todo.checks}); err != nil {
			return err
		}
		todo.checks = rowSet{kind: w.kind.Name}
	}
}

// unwanted is what is to be done for a page of what is in place.
type unwanted struct {
	examined int
	orphans  []string // of no row
	shown    *page    // what the source says of them; nil: there was nothing to ask
	remove   rowSet   // what is to go; version 0: an orphan
	checks   rowSet
	next     string // the key after which the rows go on
}

func (u *unwanted) empty() bool {
	return len(u.orphans) == 0 && len(u.remove.keys) == 0 && len(u.checks.keys) == 0
}

// plan reads the rows of what was named, and asks the source for those resources
// that seem to be unwanted: the log may not have told of them yet.
func (w *walkOf) plan(ctx context.Context) (*unwanted, error) {
	u := &unwanted{examined: len(w.keys), next: w.from}
	u.remove.kind, u.checks.kind = w.kind.Name, w.kind.Name
	rows, err := w.cfg.Home.Query(ctx, walkSQL.Placed, w.kind.Name, w.keys, w.since, w.requestedAt)
	if err != nil {
		return nil, fmt.Errorf("read the rows of what is in place: %w", err)
	}
	var suspects rowSet
	var key, verdict string
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&key, &version, &verdict}, func() error {
		switch verdict {
		case isOrphan, isBack:
			suspects.add(key, version)
		default:
			u.checks.add(key, version)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the rows of what is in place: %w", err)
	}
	return u, w.ask(ctx, u, suspects)
}

func (w *walkOf) ask(ctx context.Context, u *unwanted, suspects rowSet) error {
	if len(suspects.keys) == 0 {
		return nil
	}
	wanted, err := registry.ReadSelection(ctx, w.cfg.Home, w.kind.Name)
	if err != nil {
		return err
	}
	if u.shown, err = resourcesMissing(ctx, w.cfg.Source, wanted, suspects.keys); err != nil {
		return err
	}
	if err := w.fit(ctx, u.shown); err != nil {
		return err
	}
	if _, err := w.passed(ctx, u.shown); err != nil {
		return err
	}
	theirs, unsure, err := w.ofNeighbours(ctx, suspects.keys)
	if err != nil {
		return err
	}
	slices.Sort(u.shown.keys)
	for i, key := range suspects.keys {
		if theirs[key] {
			continue
		}
		if _, missing := slices.BinarySearch(u.shown.keys, key); u.shown.listed && !missing {
			continue // its row comes by the log, or by the phase of resources
		}
		orphan := suspects.versions[i] == 0
		if orphan {
			u.orphans = append(u.orphans, key)
		}
		// What cannot be asked for is removed only where a row says so.
		if !orphan || w.removeOrphans && u.shown.listed && !unsure[key] {
			u.remove.add(key, suspects.versions[i])
		}
	}
	return nil
}

// absent adds checks for a page of rows whose resources were not named, and tells
// whether there may be more.
func (w *walkOf) absent(ctx context.Context, upTo *string, u *unwanted) (full bool, err error) {
	most := w.portion.Size().Rows
	rows, err := w.cfg.Home.Query(ctx, walkSQL.Synced, w.kind.Name, u.next, upTo, w.requestedAt, most)
	if err != nil {
		return false, fmt.Errorf("find rows without a resource: %w", err)
	}
	n := 0
	var version int64
	var synced *bool
	_, err = pgx.ForEachRow(rows, []any{&u.next, &version, &synced}, func() error {
		n++
		if _, there := slices.BinarySearch(w.keys, u.next); !there && synced != nil && *synced {
			u.checks.add(u.next, version)
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("find rows without a resource: %w", err)
	}
	return n == most, nil
}

func (w *walkOf) commitPage(ctx context.Context, to progress, u *unwanted) error {
	w.cfg.Hook("reconcile:planned")
	f := found{examined: u.examined, orphans: u.orphans}
	var effects func(tx pgx.Tx) error
	if !u.empty() {
		effects = func(tx pgx.Tx) error { return w.effects(ctx, tx, u, &f) }
	}
	return w.commit(ctx, to, w.kind.Name, &f, effects)
}

func (w *walkOf) effects(ctx context.Context, tx pgx.Tx, u *unwanted, f *found) error {
	if len(u.remove.keys) > 0 {
		if err := holdSelection(ctx, tx, u.shown); err != nil {
			return err
		}
		jobs, err := writeRows(ctx, tx, walkSQL.Unwanted, u.remove, u.shown.timeline, u.shown.tick)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if _, orphan := slices.BinarySearch(u.orphans, j.ResourceID); orphan {
				f.orphansRemoved++
			} else {
				f.removed++
			}
		}
		f.late = len(u.remove.keys) - len(jobs)
		if err := w.queue(ctx, tx, jobs); err != nil {
			return err
		}
	}
	if w.cfg.Checks == nil {
		return nil
	}
	f.checks = len(u.checks.keys)
	return w.check(ctx, tx, u.checks)
}
