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
	select {
	case c.picks <- struct{}{}:
		defer func() { <-c.picks }()
	case <-ctx.Done():
		return nil, a, none, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeWithin)
	defer cancel()
	for sql := pickSQL.Pick; ; {
		a, o, err = c.pick(ctx, r, sql)
		if err != nil {
			c.options.Picked("failed")
			return nil, a, o, err
		}
		c.options.Picked(o.String())
		if o == locked && sql != pickOfMore {
			sql = pickOfMore
			continue
		}
		if o != taken {
			return nil, a, o, nil
		}
		if body, err = c.render(ctx, &a); err == nil {
			c.valid.set([32]byte(hashOf(a.token)), true)
			return body, a, taken, nil
		}
		if !errors.Is(err, errRender) {
			c.giveBack(ctx, a)
			return nil, a, none, err
		}
		c.log.WarnContext(ctx, "a build cannot be handed out, it fails", "build", a.id, "err", err)
		if _, err := c.change(ctx, nil, buildSQL.Fail, a.id, hashOf(a.token), err.Error()); err != nil {
			return nil, a, none, fmt.Errorf("fail build %d: %w", a.id, err)
		}
	}
}

// pick is one look at the queue that locks what it finds. That there is nothing is asked
// by a later statement: the first does not see what another pick has locked and then
// gives up.
func (c *Coordinator) pick(ctx context.Context, r request, sql string) (a assignment, o outcome, err error) {
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
	var longest *int32
	var id, pipeline, project *int64
	var attempt, timeout *int32
	var path, name, stage *string
	var queuedFor *float64
	err = results.QueryRow().Scan(&known, &paused, &full, &longest, &id, &attempt, &pipeline, &project, &path, &name, &stage, &a.job, &timeout, &queuedFor, &a.needs)
	if err = errors.Join(err, results.Close()); err != nil {
		return a, locked, lockedOr(fmt.Errorf("pick a build for runner %d: %w", r.runner.id, err))
	}
	c.options.Hook("picked")
	switch {
	case !known:
		return a, refused, nil
	case paused || full:
		return a, busy, nil
	case id == nil:
		waits, _, err := waits(ctx, c.primary, r.runner.class, update{})
		if err != nil || !waits {
			return a, none, err
		}
		return a, locked, nil
	}
	a.id, a.pipeline, a.project, a.attempt, a.path, a.name, a.stage = *id, *pipeline, *project, *attempt, *path, *name, *stage
	a.timeout, a.queuedFor = *timeout, *queuedFor
	if longest != nil {
		a.timeout = min(a.timeout, *longest)
	}
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
