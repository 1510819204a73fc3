package jobs

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// noTimeout is for work without a limit. River never rescues jobs whose limit
// is infinite, and cuts those without one after a minute.
const noTimeout = 30 * 24 * time.Hour

// Config of a [Worker].
type Config struct {
	Registry  *registry.Registry
	Process   *registry.Process
	Queue     *Queue
	Transfers Transfers // a kind without a transfer needs none
	Logger    *slog.Logger
	Timeouts  map[string]time.Duration // by kind; none by default
	// SizeLimits are how many bytes a resource may have, by kind; none by default. A
	// file is refused before it is read, a repository before it is published.
	SizeLimits map[string]int64
	// ClaimTTL is when a place in a bucket, to which somebody else's write may still
	// come, is checked for the first time. See registry.ProcessConfig. Defaults to
	// 30 s.
	ClaimTTL time.Duration
	// Stopping is closed when this process stops: work that is interrupted then
	// is given back instead of failed.
	Stopping <-chan struct{}
	// Counted is called with what is counted in the [Stats], by kind. It must be quick.
	// May be nil.
	Counted func(kind string, stat Stat, n int64)
	// Hook is called at named points, for tests that stop there. May be nil.
	Hook func(point string)
}

// Worker works on jobs: claim, copy, commit.
type Worker struct {
	cfg   Config
	open  atomic.Int64
	Stats Stats
}

// New returns a worker.
func New(cfg Config) *Worker {
	cfg.ClaimTTL = cmp.Or(cfg.ClaimTTL, 30*time.Second)
	if cfg.Hook == nil {
		cfg.Hook = func(string) {}
	}
	return &Worker{cfg: cfg}
}

// Open is how many runs use their transfers. Those that are left when the
// River client has stopped hang, and may go on at any time: the transfers must
// not be closed under them.
func (w *Worker) Open() int { return int(w.open.Load()) }

// Register adds the worker's jobs to workers.
func (w *Worker) Register(workers *river.Workers) {
	river.AddWorker(workers, &runner[SyncArgs]{w: w})
	river.AddWorker(workers, &runner[RemoveArgs]{w: w})
	river.AddWorker(workers, &verifier{w: w})
	river.AddWorker(workers, &operator{w: w})
}

// args is what all jobs of the registry carry.
type args interface {
	river.JobArgs
	token() registry.Token
}

// runner is what River sees of a [Worker], for one kind of job.
type runner[T args] struct {
	river.WorkerDefaults[T]
	w *Worker
}

// Work implements [river.Worker].
func (r *runner[T]) Work(ctx context.Context, job *river.Job[T]) error {
	return forRiver(r.w.recovered(ctx, func() error { return r.w.work(ctx, job.JobRow, job.Args.token()) }))
}

// Timeout implements [river.Worker].
func (r *runner[T]) Timeout(job *river.Job[T]) time.Duration {
	return r.w.timeout(job.Args.token().Kind)
}

// NextRetry implements [river.Worker].
func (r *runner[T]) NextRetry(job *river.Job[T]) time.Time {
	return r.w.cfg.Queue.nextRetry(job.JobRow)
}

func (w *Worker) timeout(kind string) time.Duration {
	if d := w.cfg.Timeouts[kind]; d > 0 {
		return d
	}
	return noTimeout
}

// work is one run. It returns nil when there is nothing left to do for this
// job, also when that is because another one has it.
func (w *Worker) work(ctx context.Context, job *rivertype.JobRow, token registry.Token) error {
	w.cfg.Hook("work:fetched")
	claim, err := w.cfg.Registry.Claim(ctx, token, job.ID)
	var taken *registry.TakenError
	switch {
	case errors.Is(err, registry.ErrSuperseded):
		w.count(token.Kind, Superseded, 1)
		return nil
	case errors.Is(err, registry.ErrHandedOver):
		w.count(token.Kind, HandedOver, 1)
		return nil
	case errors.As(err, &taken):
		return w.taken(ctx, token, taken)
	case err != nil:
		return err
	}
	w.count(token.Kind, Claimed, 1)
	w.cfg.Hook("work:claimed")
	ctx, stop := w.cfg.Process.Context(ctx, claim)
	defer stop()
	began, bytes := time.Now(), int64(0)
	err = w.recovered(ctx, func() error { return w.run(ctx, claim, &bytes) })
	switch {
	case err == nil:
		w.count(token.Kind, Synced, 1)
		w.ended(ctx, claim, "synced", began, bytes)
		return nil
	case errors.Is(err, registry.ErrSuperseded):
		w.count(token.Kind, Superseded, 1)
		w.ended(ctx, claim, "superseded", began, bytes)
		return nil
	case errors.Is(err, registry.ErrFenced), errors.Is(err, registry.ErrProcessLost):
		return w.fenced(ctx, claim, err)
	}
	return w.giveBack(ctx, job, claim, err, began)
}

// taken ends a run that did not begin, since another kind's resource has the place. It is
// told once, and tried for as long as it is wanted: the other may be removed.
func (w *Worker) taken(ctx context.Context, token registry.Token, cause *registry.TakenError) error {
	w.count(token.Kind, Failed, 1)
	level := slog.LevelDebug
	if cause.First {
		level = slog.LevelWarn
	}
	w.cfg.Logger.Log(ctx, level, "run did not begin", append(tokenAttrs(token), "err", cause)...)
	return river.JobSnooze(cause.RetryIn)
}

func (w *Worker) fenced(ctx context.Context, claim *registry.Claim, err error) error {
	w.count(claim.Kind, Fenced, 1)
	w.cfg.Logger.WarnContext(ctx, "run was fenced, it wrote nothing", w.attrs(claim, err)...)
	return nil
}

// giveBack gives the claim back after an error: unfinished when this process
// stops, failed otherwise.
//
// A run whose staging is gone ([transfer.ErrFenced]) may well have its claim
// still: an older run that was frozen before it began takes the staging of a
// newer one away when it wakes. Then the newer one has to try again.
func (w *Worker) giveBack(ctx context.Context, job *rivertype.JobRow, claim *registry.Claim, cause error, began time.Time) error {
	if w.stopping() && ctx.Err() != nil {
		if err := w.cfg.Registry.Release(claim); err != nil && !errors.Is(err, registry.ErrFenced) {
			return fmt.Errorf("give back %s %q: %w", claim.Kind, claim.ResourceID, err)
		}
		w.count(claim.Kind, Released, 1)
		return nil
	}
	end := w.ending(ctx, job, claim, cause)
	superseded, err := end.write(w.cfg.Registry, claim)
	switch {
	case superseded:
		w.count(claim.Kind, Superseded, 1)
		return nil
	case errors.Is(err, registry.ErrFenced), errors.Is(err, registry.ErrProcessLost):
		return w.fenced(ctx, claim, errors.Join(cause, err))
	}
	if end.absent && err == nil {
		w.count(claim.Kind, Absent, 1)
		w.ended(ctx, claim, "absent", began, 0)
		return end.river
	}
	w.count(claim.Kind, Failed, 1)
	level := slog.LevelWarn
	if end.missing {
		w.count(claim.Kind, Missing, 1)
		// It is told once, and tried for as long as it is wanted.
		if claim.Attempts > 1 {
			level = slog.LevelDebug
		}
	}
	w.cfg.Logger.Log(ctx, level, "run failed", append(w.attrs(claim, cause), "retry_at", end.retryAt)...)
	if err != nil {
		return errors.Join(cause, err)
	}
	return end.river
}

// explain says why a context ended, rather than that it did, and what a
// changed source means when no newer event has come.
func explain(ctx context.Context, cause error) error {
	if errors.Is(cause, transfer.ErrChanged) {
		return fmt.Errorf("changed at the source without an event: %w", cause)
	}
	if cancelled(ctx) {
		return registry.ErrCancelled
	}
	if ctx.Err() != nil && errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w (%w)", cause, context.Cause(ctx))
	}
	return cause
}

// cancelled tells whether an operator has cancelled the run: River says so at
// once where it is heard, and the row says so in any case.
func cancelled(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, river.ErrJobCancelledRemotely) || errors.Is(cause, registry.ErrCancelled)
}

func (w *Worker) stopping() bool {
	select {
	case <-w.cfg.Stopping:
		return true
	default:
		return false
	}
}

func (w *Worker) attrs(c *registry.Claim, err error) []any {
	return append(runAttrs(c), "err", err)
}

// runAttrs tell of a run, and by which event it was asked for: so a resource is followed
// from the log to its place by one search.
func runAttrs(c *registry.Claim) []any {
	return append(tokenAttrs(c.Token), "claim", c.ID, "attempt", c.Attempts, "timeline", c.Timeline, "event", c.EventID, "tick", c.Tick)
}

// ended tells of a run that did not fail. There may be thousands a second, so that only who
// follows a resource wants them.
func (w *Worker) ended(ctx context.Context, c *registry.Claim, outcome string, began time.Time, bytes int64) {
	if w.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		w.cfg.Logger.DebugContext(ctx, "run ended", append(runAttrs(c),
			"outcome", outcome, "deleted", c.Deleted, "bytes", bytes, "duration", time.Since(began))...)
	}
}

// isNamed tells whether what is in place should be the very file that the payload names, as
// after a touch: it is read, and copied only where it is not.
func isNamed(c *registry.Claim) bool {
	want, err := transfer.Expect(c.Payload)
	return err == nil && want.SHA256 != nil && !c.Fresh && c.Checksum == "sha256:"+hex.EncodeToString(want.SHA256)
}

// run copies and publishes under the claim, and says how many bytes it has copied.
func (w *Worker) run(ctx context.Context, claim *registry.Claim, bytes *int64) error {
	kind := claim.Of
	if kind.Transfer == eventlog.TransferNone {
		return w.cfg.Registry.Publish(claim, registry.Result{}, nil)
	}
	mover := w.cfg.Transfers[kind.Transfer]
	if mover == nil {
		return fmt.Errorf("no target for %s is configured in this worker", kind.Transfer)
	}
	closed := true
	w.open.Add(1)
	defer func() {
		if closed {
			w.open.Add(-1)
		}
	}()
	place := place(kind, claim.ResourceID, claim.ID.String())
	place.Fresh, place.Adopt, place.Aside = claim.Fresh, claim.First || isNamed(claim), claim.Aside
	if claim.Base.Key != "" && !claim.Deleted {
		// A key that is no path has no copy.
		place.Base, _ = place.BaseOf(claim.Base.Key, claim.Base.Incarnation)
	}
	place.MaxSize = w.cfg.SizeLimits[claim.Kind]
	move, err := mover.Begin(ctx, place)
	if claim.Deleted && errors.Is(err, transfer.ErrBadPlace) {
		// Nothing can be there, or ever have been.
		return w.cfg.Registry.Publish(claim, registry.Result{}, nil)
	}
	if err != nil {
		return err
	}
	guarded := &guarded{run: move, recovered: w.recovered}
	defer func() { closed = guarded.close(w.cfg.Logger.With(tokenAttrs(claim.Token)...)) }()
	if claim.Deleted {
		return w.put(ctx, claim, registry.Result{}, mover, guarded, move.Remove)
	}
	result, err := move.Copy(ctx, claim.Payload)
	if err != nil {
		return err
	}
	*bytes = result.Size - result.Held
	w.count(claim.Kind, Bytes, *bytes)
	if limit := place.MaxSize; limit > 0 && result.Size > limit {
		return fmt.Errorf("%w: it has %d bytes, and its kind's size limit is %d; resync it when that is raised", transfer.ErrTooLarge, result.Size, limit)
	}
	return w.put(ctx, claim, registry.Result(result), mover, guarded, move.Publish)
}
