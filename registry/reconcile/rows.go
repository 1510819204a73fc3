package reconcile

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"casq/eventlog"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

//go:embed rows.sql
var rowsText string

// rowsSQL has the statements of rows.sql.
var rowsSQL = queries.Parse[struct{ Rows, Oldest, VerifyAsked, Requeue, Raise, Compare, LivePage, Enter string }]("registry/reconcile/rows", rowsText)

// The flags of rowsSQL.Rows.
const (
	wantsResource = 1 << iota
	isBeyond
	isIdle
	isDue
)

// rowsPage is a page of the registry.
type rowsPage struct {
	kind     eventlog.Kind
	keys     []string
	versions []int64
	flags    []int32
	payloads []string // of keys, where they are not large; nil where they were not asked for

	rest *rowsPage // what was cut off
}

// cut leaves the rows from a key on to a page of their own.
func (p *rowsPage) cut(key string) {
	n, _ := slices.BinarySearch(p.keys, key)
	p.rest = &rowsPage{kind: p.kind, keys: p.keys[n:], versions: p.versions[n:], flags: p.flags[n:], rest: p.rest}
	p.keys, p.versions, p.flags = p.keys[:n], p.versions[:n], p.flags[:n]
}

// with are the rows that have all of the flags, in key order.
func (p *rowsPage) with(flags int32) rowSet {
	s := rowSet{kind: p.kind.Name}
	for i, f := range p.flags {
		if f&flags == flags {
			s.add(p.keys[i], p.versions[i])
		}
	}
	return s
}

// rowSet are rows of a kind in key order, under the versions that were read.
type rowSet struct {
	kind     string
	keys     []string
	versions []int64
}

func (s *rowSet) add(key string, version int64) {
	s.keys, s.versions = append(s.keys, key), append(s.versions, version)
}

// only are those whose keys are among some.
func (s *rowSet) only(keys []string) map[string]int64 {
	under := make(map[string]int64, len(keys))
	for _, key := range keys {
		if i, ok := slices.BinarySearch(s.keys, key); ok {
			under[key] = s.versions[i]
		}
	}
	return under
}

// rowsToDo is what is to be done for a page of rows.
type rowsToDo struct {
	shown    *page            // what the source shows, or does not
	gone     map[string]int64 // rows whose resources are not there
	heldBack int              // as many are left alone
	there    *page            // resources that are copied again; may be nil
	raise    rowSet           // rows that are copied again unseen
	requeue  rowSet
	checks   rowSet
}

func (d *rowsToDo) needsSource() bool {
	return len(d.gone) > 0 || d.there != nil && len(d.there.keys) > 0 || len(d.raise.keys) > 0
}

func (d *rowsToDo) empty() bool {
	return !d.needsSource() && len(d.requeue.keys) == 0 && len(d.checks.keys) == 0
}

// rows goes through the rows of a kind, page by page, unless it went through them along with
// the resources.
func (run *takenRun) rows(ctx context.Context, kind eventlog.Kind, after *string) error {
	if m := run.merged[kind.Name]; m != nil && !m.over {
		for _, p := range m.gone.pages(kind, run.portion.Size().Rows) {
			if err := run.rowsPage(ctx, p, new(run.reached), &found{}); err != nil {
				return err
			}
		}
		return run.commit(ctx, progress{rowsPhase, &kind.Name, m.last}, kind.Name, &found{examined: m.rows}, nil)
	}
	waiting, err := run.oldest(ctx, kind)
	if err != nil {
		return err
	}
	pages := run.rowPages(ctx, kind, after, waiting, false)
	defer pages.stop()
	for {
		p, err := pages.next(ctx)
		if err != nil || len(p.keys) == 0 {
			return err
		}
		run.cfg.Hook("reconcile:rows")
		for rest := p; rest != nil; {
			p = rest
			if err := run.rowsPage(ctx, p, nil, &found{}); err != nil {
				return err
			}
			rest = p.rest
		}
	}
}

// oldestWaiting is since when work must have been asked for to be waiting still.
type oldestWaiting struct{ jobs, checks time.Time }

// oldest is asked once: a time that is too early leaves rows for the next run.
func (run *takenRun) oldest(ctx context.Context, kind eventlog.Kind) (waiting oldestWaiting, err error) {
	err = run.cfg.Home.QueryRow(ctx, rowsSQL.Oldest, kind.Queue, run.cfg.Margin, registry.VerifyQueue(kind.Transfer)).Scan(&waiting.jobs, &waiting.checks)
	if err != nil {
		return waiting, fmt.Errorf("find the oldest job of queue %s: %w", kind.Queue, err)
	}
	return waiting, nil
}

// rowPages reads the pages of a kind's rows beyond a key. The last one is empty.
func (run *takenRun) rowPages(ctx context.Context, kind eventlog.Kind, after *string, waiting oldestWaiting, payloads bool) *ahead[*rowsPage] {
	return readAhead(ctx, func(ctx context.Context) (*rowsPage, bool, error) {
		p, err := run.readRows(ctx, kind, after, waiting, payloads)
		if err != nil || len(p.keys) == 0 {
			return p, false, err
		}
		after = &p.keys[len(p.keys)-1]
		return p, true, nil
	})
}

func (run *takenRun) readRows(ctx context.Context, kind eventlog.Kind, after *string, waiting oldestWaiting, payloads bool) (*rowsPage, error) {
	p := &rowsPage{kind: kind}
	from := ""
	if after != nil {
		from = *after
	}
	var verifyBefore *time.Time
	if run.cfg.Checks != nil && run.cfg.VerifyEvery > 0 && run.beyond == nil && kind.Transfer != eventlog.TransferNone {
		verifyBefore = new(time.Now().Add(-run.cfg.VerifyEvery))
		if run.skipsEvents() {
			// A change that left the payload as it was shows only in the content.
			verifyBefore, waiting.checks = &run.requestedAt, run.requestedAt
		}
	}
	timeline, tick := run.beyond.Columns()
	err := run.cfg.Home.QueryRow(ctx, rowsSQL.Rows, kind.Name, from, run.portion.Size().Rows, timeline, tick, waiting.jobs, verifyBefore, waiting.checks, payloads).
		Scan(&p.keys, &p.versions, &p.flags, &p.payloads)
	if err != nil {
		return nil, fmt.Errorf("read rows of kind %s: %w", kind.Name, err)
	}
	return p, nil
}

// rowsPage compares a page of rows with the source, which is read after them, so
// that a row that changes meanwhile has another version. The run moves on to a place; nil:
// to the end of the page, which may be cut.
func (run *takenRun) rowsPage(ctx context.Context, p *rowsPage, to *progress, f *found) error {
	do, err := run.plan(ctx, p)
	last := p.keys[len(p.keys)-1]
	if to == nil {
		to = &progress{rowsPhase, &p.kind.Name, &last}
		f.examined = len(p.keys)
	}
	if err == nil {
		err = run.carryOutRows(ctx, do, *to, f)
	}
	if err != nil {
		return fmt.Errorf("compare rows of kind %s up to %q: %w", p.kind.Name, last, err)
	}
	return nil
}

// carryOutRows does what was planned for a page of rows.
func (run *takenRun) carryOutRows(ctx context.Context, do *rowsToDo, to progress, f *found) error {
	f.unlisted, f.heldBack = !do.shown.listed, do.heldBack
	if do.needsSource() {
		if _, err := run.passed(ctx, do.shown); err != nil {
			return err
		}
		coming, err := do.shown.coming(ctx, run.cfg.Source, slices.Collect(maps.Keys(do.gone)))
		if err != nil {
			return err
		}
		for key := range coming {
			delete(do.gone, key)
		}
		f.late += len(coming)
	}
	var effects func(tx pgx.Tx) error
	if !do.empty() {
		effects = func(tx pgx.Tx) error { return run.applyRows(ctx, tx, do, f) }
	}
	return run.commit(ctx, to, do.shown.kind, f, effects)
}

// plan decides what is to be done for the page, which it cuts where its resources have
// too many bytes.
func (run *takenRun) plan(ctx context.Context, p *rowsPage) (*rowsToDo, error) {
	do := &rowsToDo{requeue: p.with(isBeyond | isIdle), checks: p.with(isDue)}
	ask := p.with(wantsResource | isBeyond)
	wanted, err := registry.ReadSelection(ctx, run.cfg.Home, p.kind.Name)
	if err != nil {
		return nil, err
	}
	if run.beyond != nil {
		// Also tombstones: their deletes may be lost.
		ask = p.with(isBeyond)
		do.shown, err = resourcesOf(ctx, run.cfg.Source, wanted, ask.keys, run.portion.Size().Bytes)
		if err == nil && do.shown.answered < len(ask.keys) {
			p.cut(ask.keys[do.shown.answered])
			return run.plan(ctx, p)
		}
	} else {
		do.shown, err = resourcesMissing(ctx, run.cfg.Source, wanted, ask.keys)
	}
	if err == nil {
		err = run.fit(ctx, do.shown)
	}
	switch {
	case err != nil:
		return nil, err
	case !do.shown.listed && run.skipsEvents():
		do.raise = ask
	case !do.shown.listed:
	case run.beyond != nil:
		do.there = do.shown
		live := p.with(wantsResource | isBeyond)
		do.gone = live.only(live.keys)
		for _, key := range do.there.keys {
			delete(do.gone, key)
		}
	default:
		do.gone = ask.only(do.shown.keys)
		err = run.limitRemovals(ctx, do)
	}
	return do, err
}

// limitRemovals leaves rows alone where so many would be removed that the removal limit
// forbids it.
func (run *takenRun) limitRemovals(ctx context.Context, do *rowsToDo) error {
	if len(do.gone) == 0 {
		return nil
	}
	if m := run.merged[do.shown.kind]; m != nil && m.under {
		m.leave(do.gone)
		do.gone = nil
		return nil
	}
	held, err := run.holdsBack(ctx, do.shown.kind)
	if held {
		do.heldBack, do.gone = len(do.gone), nil
	}
	return err
}

// skipsEvents tells whether the run was asked for because events were lost, or
// will not be read: then also resources that cannot be listed are copied again. Not
// after a failover of home with its own log: the rows were lost with the events.
func (run *takenRun) skipsEvents() bool {
	return run.reason != registry.Failover && run.reason != registry.Selected &&
		(run.beyond != nil || run.at != nil || run.reason == registry.Lost || run.reason == registry.Pruned)
}

// applyRows does what was planned, under locks in key order.
func (run *takenRun) applyRows(ctx context.Context, tx pgx.Tx, do *rowsToDo, f *found) error {
	hold := holdSelection
	if do.there != nil {
		hold = lockFloor
	}
	if err := hold(ctx, tx, do.shown); err != nil {
		return err
	}
	if err := do.lock(ctx, tx); err != nil {
		return err
	}
	jobs, err := removeRows(ctx, tx, do.shown, do.gone)
	if err != nil {
		return err
	}
	f.removed, f.late = len(jobs), f.late+len(do.gone)-len(jobs)
	if do.there != nil {
		again, err := applyResources(ctx, tx, do.there, true, true)
		if err != nil {
			return err
		}
		f.changed, f.late = len(again), f.late+len(do.there.keys)-len(again)
		jobs = append(jobs, again...)
	}
	raised, err := writeRows(ctx, tx, rowsSQL.Raise, do.raise, do.shown.timeline, do.shown.tick)
	if err != nil {
		return err
	}
	f.changed, f.late = f.changed+len(raised), f.late+len(do.raise.keys)-len(raised)
	requeued, err := writeRows(ctx, tx, rowsSQL.Requeue, do.requeue)
	if err != nil {
		return err
	}
	f.requeued = len(requeued)
	if err := run.queue(ctx, tx, slices.Concat(jobs, raised, requeued)); err != nil {
		return err
	}
	f.checks = len(do.checks.keys)
	return run.check(ctx, tx, do.checks)
}

// lock locks all rows that will be written, in one go.
func (d *rowsToDo) lock(ctx context.Context, tx pgx.Tx) error {
	keys := slices.Concat(d.raise.keys, d.requeue.keys)
	for key := range d.gone {
		keys = append(keys, key)
	}
	if d.there != nil {
		keys = append(keys, d.there.keys...)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return registry.LockRows(ctx, tx, d.shown.kind, keys)
}

// writeRows runs a statement over locked rows and returns the jobs it asks for.
func writeRows(ctx context.Context, tx pgx.Tx, sql string, s rowSet, more ...any) ([]registry.Job, error) {
	if len(s.keys) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, sql, append([]any{s.kind, s.keys, s.versions}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("ask again for %d resources: %w", len(s.keys), err)
	}
	jobs, err := registry.CollectJobs(rows)
	if err != nil {
		return nil, fmt.Errorf("ask again for %d resources: %w", len(s.keys), err)
	}
	return jobs, nil
}

// check queues verifications, and notes that in the rows. A row that is locked is left
// without the note: a token that is late, or a second one, costs nothing.
func (run *takenRun) check(ctx context.Context, tx pgx.Tx, s rowSet) error {
	if run.dry || len(s.keys) == 0 {
		return nil
	}
	tokens := make([]registry.Token, len(s.keys))
	for i, key := range s.keys {
		tokens[i] = registry.Token{Kind: s.kind, ResourceID: key, Version: s.versions[i]}
	}
	if _, err := tx.Exec(ctx, rowsSQL.VerifyAsked, s.kind, s.keys, s.versions); err != nil {
		return fmt.Errorf("note %d verifications: %w", len(tokens), err)
	}
	if err := run.cfg.Checks.InsertChecks(ctx, tx, tokens); err != nil {
		return fmt.Errorf("queue %d verifications: %w", len(tokens), err)
	}
	return nil
}
