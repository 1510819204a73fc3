package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	errTakenOver    = errors.New("another process has taken the run over")
	errCursorBehind = errors.New("home has not read the log up to the page's tick")
)

// The phases of a run, in order.
const (
	resourcesPhase = "resources" // what the source has, and the registry may not have
	rowsPhase      = "rows"      // what the registry has, and the source may not have
	stagingPhase   = "staging"   // folders that no run works in
	walkPhase      = "walk"      // what is in place, and what the registry says of it
)

// progress is where a run goes on: after a key of a kind, in a phase.
type progress struct {
	phase string
	kind  *string
	after *string
}

// takenRun is a run that this process has taken.
type takenRun struct {
	*Reconciler
	id      int64
	kind    string // empty: all
	reason  registry.Reason
	dry     bool
	beyond  *registry.Tick
	at      *registry.Tick
	reached progress

	requestedAt   time.Time  // by home's clock
	walks         bool       // in the end
	removeOrphans bool       // which are otherwise only counted and named
	lostSince     *time.Time // since when home may have lost what it did; nil: nothing was lost
	allowRemove   int64      // see [Request.AllowRemove]

	merged map[string]*merged // by kind, what was gone through in both directions at once

	held  map[string]bool // by kind, whether the removal limit holds; known once asked for
	apart map[string]bool // kinds that a run of their own goes on with
}

// found counts what one page has come to.
type found struct {
	unlisted                                     bool
	examined, created, adopted, changed, removed int
	requeued, checks, late, staging              int
	heldBack, orphansRemoved                     int
	orphans                                      []string
}

// take makes a run this process's; nil when there is none.
func (r *Reconciler) take(ctx context.Context) (*takenRun, error) {
	run := &takenRun{Reconciler: r, merged: make(map[string]*merged), held: make(map[string]bool), apart: make(map[string]bool)}
	var beyondTimeline, atTimeline *int32
	var beyondTick, atTick *int64
	err := r.cfg.Home.QueryRow(ctx, runSQL.Take, r.cfg.Process).Scan(&run.id, &run.kind, &run.reason, &run.dry,
		&beyondTimeline, &beyondTick, &atTimeline, &atTick, &run.reached.phase, &run.reached.kind, &run.reached.after,
		&run.requestedAt, &run.walks, &run.removeOrphans, &run.lostSince, &run.allowRemove)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is nothing to do, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("take a reconcile: %w", err)
	}
	run.beyond, run.at = tickFrom(beyondTimeline, beyondTick), tickFrom(atTimeline, atTick)
	return run, nil
}

func tickFrom(timeline *int32, id *int64) *registry.Tick {
	if timeline == nil || id == nil {
		return nil
	}
	return &registry.Tick{Timeline: *timeline, ID: *id}
}

// carryOut goes on with the run to its end. Dying anywhere leaves the pages that
// were committed, with the progress beyond them.
func (run *takenRun) carryOut(ctx context.Context) error {
	if err := run.learn(ctx); err != nil {
		return err
	}
	kinds, err := eventlog.Kinds(ctx, run.cfg.Home)
	if err != nil {
		return err
	}
	if run.reason == registry.Selected {
		if err := run.afterRows(ctx); err != nil {
			return err
		}
	}
	// Rows beyond a tick are re-fetched by key; resources that are new come by the
	// log, which goes on from there.
	if run.reached.phase == resourcesPhase && run.beyond == nil {
		if err := run.eachKind(ctx, kinds, resourcesPhase, run.resources); err != nil {
			return err
		}
	}
	if run.reached.phase == resourcesPhase || run.reached.phase == rowsPhase {
		if err := run.eachKind(ctx, kinds, rowsPhase, run.rows); err != nil {
			return err
		}
	}
	if run.reached.phase != walkPhase {
		if err := run.staging(ctx); err != nil {
			return err
		}
	}
	if run.walks {
		// What is in place is where the kinds are now.
		if kinds, err = eventlog.Kinds(ctx, run.cfg.Home); err != nil {
			return err
		}
		if err := run.eachKind(ctx, kinds, walkPhase, run.walk); err != nil {
			return err
		}
	}
	return run.finish(ctx)
}

// learn makes the source's kinds known at home. Of one that home refuses nothing
// can be compared.
func (run *takenRun) learn(ctx context.Context) error {
	refused, err := registry.LearnKinds(ctx, run.cfg.Home, run.cfg.Source)
	if err == nil && run.kind != "" {
		err = refused[run.kind]
	}
	if err != nil || run.kind != "" {
		return err
	}
	for name, err := range refused {
		if err := run.part(ctx, name, err); err != nil {
			return err
		}
	}
	return nil
}

// afterRows lets the run read only hosts that show the newest tick of all rows of its
// kind. An older page would leave rows alone which are newer than
// itself, as the log knows better; but the log told of them under the old selection,
// and tells no more.
func (run *takenRun) afterRows(ctx context.Context) error {
	var newest registry.Tick
	err := run.cfg.Home.QueryRow(ctx, runSQL.SelectionRows, run.kind).Scan(&newest.Timeline, &newest.ID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("find the newest row of kind %s: %w", run.kind, err)
	}
	if at := run.at; at == nil || newest.Timeline > at.Timeline || newest.Timeline == at.Timeline && newest.ID > at.ID {
		run.at = &newest
	}
	return nil
}

// eachKind calls do for the kinds that are left in the phase, with the key after
// which to begin. A kind that cannot be compared keeps no other from it.
func (run *takenRun) eachKind(ctx context.Context, kinds map[string]eventlog.Kind, phase string,
	do func(ctx context.Context, kind eventlog.Kind, after *string) error,
) error {
	begin := run.reached
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		var after *string
		if begin.phase == phase && begin.kind != nil {
			if name < *begin.kind {
				continue
			}
			if name == *begin.kind {
				after = begin.after
			}
		}
		if run.kind != "" && run.kind != name || run.apart[name] {
			continue
		}
		err := do(ctx, kinds[name], after)
		for run.less(ctx, name, err) {
			if reached := run.reached; reached.phase == phase && reached.kind != nil && *reached.kind == name {
				after = reached.after
			}
			err = do(ctx, kinds[name], after)
		}
		if err != nil {
			err = run.part(ctx, name, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// less tells whether a page that failed is to be tried again as a smaller one.
func (run *takenRun) less(ctx context.Context, kind string, err error) bool {
	if err == nil || ctx.Err() != nil || !run.portion.Did(err) {
		return false
	}
	size := run.portion.Size()
	run.log.WarnContext(ctx, "page may have been too large, trying a smaller one", "run", run.id, "kind", kind,
		"rows", size.Rows, "bytes", size.Bytes, "err", err)
	return true
}

// execer is a pool or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// move stores what was found, and that the run has come to a place.
func (run *takenRun) move(ctx context.Context, db execer, to progress, kind string, f found) error {
	from := run.reached
	tag, err := db.Exec(ctx, runSQL.Move, run.id, run.cfg.Process, from.phase, from.kind, from.after,
		to.phase, to.kind, to.after, kind, f.unlisted, f.examined, f.created, f.adopted, f.changed, f.removed,
		f.requeued, f.checks, f.late, f.staging, f.heldBack, len(f.orphans), f.orphansRemoved)
	if err != nil {
		return fmt.Errorf("store progress: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errTakenOver
	}
	if len(f.orphans) == 0 {
		return nil
	}
	if _, err := db.Exec(ctx, walkSQL.Orphans, run.id, kind, f.orphans, mostOrphans); err != nil {
		return fmt.Errorf("note orphans: %w", err)
	}
	return nil
}

// commit does a page's effects, which may be nil, and stores the progress beyond
// it, in one transaction.
func (run *takenRun) commit(ctx context.Context, to progress, kind string, f *found, effects func(tx pgx.Tx) error) error {
	var err error
	if effects == nil {
		err = run.move(ctx, run.cfg.Home, to, kind, *f)
	} else {
		err = pgx.BeginTxFunc(ctx, run.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
			if err := run.apply(ctx, tx, effects); err != nil {
				return err
			}
			if err := run.move(ctx, tx, to, kind, *f); err != nil {
				return err
			}
			run.cfg.Hook("reconcile:applied")
			return nil
		})
	}
	if err != nil {
		return err
	}
	run.reached = to
	run.portion.Did(nil)
	run.cfg.Hook("reconcile:committed")
	return nil
}

// apply does effects. Those of a dry run are taken back to a savepoint: what it
// counts was decided by the same statements.
func (run *takenRun) apply(ctx context.Context, tx pgx.Tx, effects func(tx pgx.Tx) error) error {
	if !run.dry {
		return effects(tx)
	}
	inner, err := tx.Begin(ctx)
	if err != nil {
		return fmt.Errorf("set a savepoint: %w", err)
	}
	if err := effects(inner); err != nil {
		return err
	}
	if err := inner.Rollback(ctx); err != nil {
		return fmt.Errorf("go back to the savepoint: %w", err)
	}
	return nil
}

// queue queues jobs behind those of events, unless nothing is to be changed.
func (run *takenRun) queue(ctx context.Context, tx pgx.Tx, wanted []registry.Job) error {
	if run.dry {
		return nil
	}
	for i := range wanted {
		wanted[i].Urgency = registry.Compared
	}
	return registry.InsertJobs(ctx, tx, run.cfg.Jobs, wanted)
}

// fit returns an error for a page of a host that does not show the tick that the run
// needs, or not the history that home follows.
func (run *takenRun) fit(ctx context.Context, p *page) error {
	if at := run.at; at != nil && (p.timeline < at.Timeline || p.timeline == at.Timeline && p.tick < at.ID) {
		return fmt.Errorf("%w: it shows tick %d of timeline %d, the run needs %d of %d", ErrLateSource, p.tick, p.timeline, at.ID, at.Timeline)
	}
	at, err := readCursor(ctx, run.cfg.Home)
	if err != nil {
		return err
	}
	return at.knows(p)
}

// passed waits until the cursor has applied all that the page's tick shows, so that
// the comparison finds only what the log did not tell. It tells whether it had to wait.
func (run *takenRun) passed(ctx context.Context, p *page) (waited bool, err error) {
	deadline := time.NewTimer(run.cfg.Patience)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for ; ; waited = true {
		at, err := readCursor(ctx, run.cfg.Home)
		if err != nil {
			return waited, err
		}
		if passed, err := at.passed(ctx, run.cfg.Source, p); passed || err != nil {
			return waited, err
		}
		select {
		case <-ctx.Done():
			return waited, ctx.Err()
		case <-deadline.C:
			return waited, fmt.Errorf("%w: tick %d of timeline %d; home's cursor stands at %d of %d", errCursorBehind, p.tick, p.timeline, at.Tick, at.Timeline.Ordinal)
		case <-poll.C:
		}
	}
}

func (run *takenRun) finish(ctx context.Context) error {
	tag, err := run.cfg.Home.Exec(ctx, runSQL.Finish, run.id, run.cfg.Process)
	if err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errTakenOver
	}
	var f found
	var orphans int
	err = run.cfg.Home.QueryRow(ctx, runSQL.Totals, run.id).Scan(&f.examined, &f.created, &f.adopted, &f.changed, &f.removed,
		&f.requeued, &f.checks, &f.late, &f.staging, &f.heldBack, &orphans, &f.orphansRemoved)
	if err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	if n := orphans - f.orphansRemoved; n > 0 {
		run.log.WarnContext(ctx, "targets have resources of no row; see casq.reconcile_orphans, enqueue reconcile --walk --remove-orphans removes them",
			"run", run.id, "orphans", n)
	}
	run.log.InfoContext(ctx, "reconcile finished", "run", run.id, "reason", run.reason, "dry_run", run.dry, "examined", f.examined,
		"created", f.created, "adopted", f.adopted, "changed", f.changed, "removed", f.removed, "requeued", f.requeued,
		"checks", f.checks, "late", f.late, "staging_removed", f.staging, "held_back", f.heldBack,
		"orphans", orphans, "orphans_removed", f.orphansRemoved)
	return nil
}
