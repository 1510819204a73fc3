package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// assignment is a build that was handed to a runner.
type assignment struct {
	id, pipeline, project int64
	attempt               int32
	path, name, stage     string
	job                   json.RawMessage
	timeout               int32 // seconds
	queuedFor             float64
	token                 string
	needs                 bool // it gets artifacts of other builds
	dependencies          []dependency
}

// dependency is a build whose artifacts an assignment gets.
type dependency struct {
	id       int64
	name     string
	filename string
	size     int64
}

// outcome is what came of a try to take a build.
type outcome int

const (
	taken   outcome = iota
	none            // there was none for the runner, for certain
	locked          // there was one, which somebody else had locked
	busy            // the runner may have none now: it is paused, or at its limit
	refused         // the runner's token is nobody's any more
)

// String returns a word for [Options.Picked].
func (o outcome) String() string {
	return [...]string{taken: "taken", none: "none", locked: "locked", busy: "busy", refused: "refused"}[o]
}

// request is what a runner said when it asked for a build.
type request struct {
	runner   identity
	system   string
	features json.RawMessage
}

// A pick looks for a build that nobody has locked among the first 16 of the queue. Once all
// were, pickOfMore reads 256. The number is written into the statement: of a parameter
// a planner does not know how small it is.
var pickOfMore = strings.ReplaceAll(pickSQL.Pick, "LIMIT 16", "LIMIT 256")

// takeWithin is how long a pick goes on whose client has gone. Broken off, it may have taken
// a build without a word, which nobody runs then until its runner would have to have begun.
const takeWithin = 10 * time.Second

// take hands the first build in the queue to a runner, rendered for it. One that cannot
// be rendered fails, and the next is tried. Whoever calls it gives the build back if ctx is
// done by then.
func (c *Coordinator) take(ctx context.Context, r request) (body []byte, a assignment, o outcome, err error) {
	for deep := false; ; {
		a, o, err = c.pick(ctx, r, deep)
		if err != nil {
			c.options.Picked("failed")
			return nil, a, o, err
		}
		c.options.Picked(o.String())
		if o == locked && !deep {
			deep = true
			continue
		}
		if o != taken {
			return nil, a, o, nil
		}
		if body, err = c.hand(ctx, &a); err == nil {
			return body, a, taken, nil
		} else if !errors.Is(err, errRender) {
			return nil, a, none, err
		}
	}
}

// hand renders a build that was picked. It fails where it cannot be, and is given back where
// that cannot be said yet.
func (c *Coordinator) hand(ctx context.Context, a *assignment) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeWithin)
	defer cancel()
	body, err = c.render(ctx, a)
	switch {
	case err == nil:
		c.valid.set([32]byte(hashOf(a.token)), true)
	case !errors.Is(err, errRender):
		c.giveBack(ctx, *a)
	default:
		c.log.WarnContext(ctx, "a build cannot be handed out, it fails", "build", a.id, "err", err)
		if _, failed := c.change(ctx, nil, buildSQL.Fail, a.id, hashOf(a.token), err.Error()); failed != nil {
			return nil, fmt.Errorf("fail build %d: %w", a.id, failed)
		}
	}
	return body, err
}

// pick looks at the queue once: together with others, or by itself where that is to be.
func (c *Coordinator) pick(ctx context.Context, r request, deep bool) (assignment, outcome, error) {
	if !r.runner.limited {
		p := &picking{ctx: ctx, request: r, deep: deep}
		c.lines.stand(p)
		if !p.alone {
			return p.assignment, p.outcome, p.err
		}
	}
	select {
	case c.picks <- struct{}{}:
		defer func() { <-c.picks }()
	case <-ctx.Done():
		return assignment{}, none, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeWithin)
	defer cancel()
	sql := pickSQL.Pick
	if deep {
		sql = pickOfMore
	}
	return c.pickAlone(ctx, r, sql)
}

// row is what a pick returns of a build; NULL without one.
type row struct {
	longest               *int32
	id, pipeline, project *int64
	attempt, timeout      *int32
	path, name, stage     *string
	job                   json.RawMessage
	queuedFor             *float64
	needs                 bool
}

func (r *row) into() []any {
	return []any{&r.longest, &r.id, &r.attempt, &r.pipeline, &r.project, &r.path, &r.name, &r.stage, &r.job, &r.timeout, &r.queuedFor, &r.needs}
}

func (r *row) assign(a *assignment) {
	a.id, a.pipeline, a.project, a.attempt, a.path, a.name, a.stage = *r.id, *r.pipeline, *r.project, *r.attempt, *r.path, *r.name, *r.stage
	a.timeout, a.queuedFor, a.needs, a.job = *r.timeout, *r.queuedFor, r.needs, r.job
	if r.longest != nil {
		a.timeout = min(a.timeout, *r.longest)
	}
}

// pickAlone is one look at the queue that locks what it finds. That there is nothing is asked
// by a later statement: the first does not see what another pick has locked and then
// gives up.
func (c *Coordinator) pickAlone(ctx context.Context, r request, sql string) (a assignment, o outcome, err error) {
	a.token = newJobToken()
	var batch pgx.Batch
	batch.Queue(pickSQL.ByIndex)
	if r.runner.limited {
		batch.Queue(pickSQL.LockRunner, r.runner.id)
	}
	batch.Queue(sql, r.runner.id, r.runner.hash[:], hashOf(a.token), c.options.StartWithin.Seconds(), r.system, r.features)
	results := c.primary.SendBatch(ctx, &batch)
	for range batch.Len() - 1 {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // the error is the statement's
			return a, locked, lockedOr(fmt.Errorf("lock runner %d: %w", r.runner.id, err))
		}
	}
	var known, paused, full bool
	var got row
	err = results.QueryRow().Scan(append([]any{&known, &paused, &full}, got.into()...)...)
	if err = errors.Join(err, results.Close()); err != nil {
		return a, locked, lockedOr(fmt.Errorf("pick a build for runner %d: %w", r.runner.id, err))
	}
	c.options.Hook("picked")
	switch {
	case !known:
		return a, refused, nil
	case paused || full:
		return a, busy, nil
	case got.id == nil:
		waits, _, err := waits(ctx, c.primary, r.runner.class, update{})
		if err != nil || !waits {
			return a, none, err
		}
		return a, locked, nil
	}
	got.assign(&a)
	return a, taken, nil
}

// lockedOr is no error where somebody holds the runner's row: the request goes on waiting,
// and other runners are served meanwhile.
func lockedOr(err error) error {
	if err = held(err); errors.Is(err, errHeld) {
		return nil
	}
	return err
}

// giveBack puts an assignment back into the queue whose runner was not told.
func (c *Coordinator) giveBack(ctx context.Context, a assignment) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	if _, err := c.change(ctx, nil, pickSQL.GiveBack, a.id, hashOf(a.token)); err != nil {
		c.log.WarnContext(ctx, "cannot give a build back, it is handed out again when its runner shows no sign of life", "build", a.id, "err", err)
	}
}
