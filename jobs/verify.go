package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// VerifyArgs asks for what is in place of a resource at a version to be compared
// with what it should be. A job whose version is not the row's any more, or is
// not in place, is a cheap no-op.
type VerifyArgs struct {
	ResourceKind string `json:"kind"`
	ResourceID   string `json:"resource_id"`
	Version      int64  `json:"version"`
	// Contested says that a write of an earlier run may still reach the place. Such
	// a check is for whichever version is wanted when it runs: it waits until that is
	// in place, and checks tombstones, too.
	Contested bool `json:"contested,omitempty"`
}

// Kind is River's name of the job.
func (VerifyArgs) Kind() string { return "casq_verify" }

func (a VerifyArgs) token() registry.Token {
	return registry.Token{Kind: a.ResourceKind, ResourceID: a.ResourceID, Version: a.Version}
}

// VerifyQueue is the queue of verifications of a transfer; see
// [registry.VerifyQueue].
func VerifyQueue(transfer string) string { return registry.VerifyQueue(transfer) }

const (
	verifyAttempts = 4 // the last one a minute and a half after the first
	// verifyTimeout ends what hangs. River hands on what a dead process had in
	// hand after as long, which for a verification is soon enough.
	verifyTimeout = 24 * time.Hour
	// lowestPriority is River's, below that of each [registry.Urgency].
	lowestPriority = 4
)

// InsertChecks queues verifications in tx. Kinds without bytes need none. It
// implements [registry.Checks].
func (q *Queue) InsertChecks(ctx context.Context, tx pgx.Tx, tokens []registry.Token) error {
	return q.insertChecks(ctx, tx, tokens, false, time.Time{})
}

// insertChecks queues verifications for a time; the zero time is at once.
func (q *Queue) insertChecks(ctx context.Context, tx pgx.Tx, tokens []registry.Token, contested bool, at time.Time) error {
	kinds, err := eventlog.Kinds(ctx, tx)
	if err != nil {
		return err
	}
	var params []river.InsertManyParams
	for _, t := range tokens {
		kind, known := kinds[t.Kind]
		if !known {
			return fmt.Errorf("%w %q", eventlog.ErrUnknownKind, t.Kind)
		}
		if kind.Transfer == eventlog.TransferNone {
			continue
		}
		params = append(params, river.InsertManyParams{
			Args: VerifyArgs{t.Kind, t.ResourceID, t.Version, contested},
			InsertOpts: &river.InsertOpts{
				Queue: VerifyQueue(kind.Transfer), Priority: lowestPriority, MaxAttempts: verifyAttempts, ScheduledAt: at,
			},
		})
	}
	if len(params) == 0 {
		return nil
	}
	if err := q.know(ctx, tx); err != nil {
		return err
	}
	if _, err := q.client.InsertManyTx(ctx, tx, params); err != nil {
		return fmt.Errorf("insert %d verifications: %w", len(params), err)
	}
	return nil
}

// verifier is what River sees of a [Worker], for verifications.
type verifier struct {
	river.WorkerDefaults[VerifyArgs]
	w *Worker
}

// Work implements [river.Worker].
func (v *verifier) Work(ctx context.Context, job *river.Job[VerifyArgs]) error {
	err := v.w.verify(ctx, job.Args, job.CreatedAt)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, registry.ErrSuperseded):
		v.w.count(job.Args.ResourceKind, Superseded, 1)
		return nil
	case errors.Is(err, registry.ErrNotInPlace):
		return v.w.waitForPlace(job)
	case ctx.Err() != nil && v.w.stopping():
		return river.JobSnooze(0)
	}
	v.w.cfg.Logger.WarnContext(ctx, "cannot verify", append(tokenAttrs(job.Args.token()), "err", err)...)
	if errors.Is(err, transfer.ErrElsewhere) || errors.Is(err, transfer.ErrAway) {
		return river.JobSnooze(maxElsewhere)
	}
	err = forRiver(err)
	// The source lacks it: that is for its events, or a reconcile, to decide.
	if errors.Is(err, transfer.ErrMissing) || errors.Is(err, transfer.ErrBadPlace) || errors.Is(err, transfer.ErrBadPayload) {
		return river.JobCancel(err)
	}
	return err
}

// Timeout implements [river.Worker].
func (v *verifier) Timeout(job *river.Job[VerifyArgs]) time.Duration {
	if d := v.w.cfg.Timeouts[job.Args.ResourceKind]; d > 0 {
		return d
	}
	return verifyTimeout
}

// waitForPlace lets a contested check wait until nobody writes to the place: what
// may come late can come over a newer version as well.
func (w *Worker) waitForPlace(job *river.Job[VerifyArgs]) error {
	if !job.Args.Contested || w.cfg.Queue.clock.Now().Sub(job.CreatedAt) > verifyTimeout {
		return nil
	}
	return river.JobSnooze(time.Minute)
}

func tokenAttrs(t registry.Token) []any {
	return []any{"kind", t.Kind, "resource_id", t.ResourceID, "version", t.Version}
}

// verify reads what is in place without a claim, however long that takes, and
// ends with one conditional statement. So what is found of a version that has
// been replaced meanwhile says nothing about the newer one.
//
// What was read since it was asked for is not read again: a verification of
// everything may take longer than it is until each resource is asked for once more,
// and would never come to its end.
func (w *Worker) verify(ctx context.Context, args VerifyArgs, asked time.Time) error {
	token := args.token()
	if args.Contested {
		token.Version = registry.AnyVersion
	}
	want, err := w.cfg.Registry.InPlace(ctx, token)
	if err != nil {
		return err
	}
	token.Version = want.Version
	if want.Removed && !args.Contested {
		return registry.ErrSuperseded
	}
	if !args.Contested && want.VerifiedAt != nil && want.VerifiedAt.After(asked) {
		return nil
	}
	differs := w.compare(ctx, token, want)
	w.cfg.Hook("verify:read")
	switch {
	case errors.Is(differs, transfer.ErrMismatch):
		return w.repair(ctx, token, differs)
	case differs != nil:
		return differs
	}
	if err := w.cfg.Registry.Verified(ctx, token, want.Now); err != nil {
		return err
	}
	w.count(token.Kind, Verified, 1)
	return nil
}

func (w *Worker) compare(ctx context.Context, token registry.Token, want registry.InPlace) error {
	kind := want.Of
	if kind.Transfer == eventlog.TransferNone {
		return nil
	}
	mover := w.cfg.Transfers[kind.Transfer]
	if mover == nil {
		return fmt.Errorf("no target for %s is configured in this worker", kind.Transfer)
	}
	w.open.Add(1)
	defer w.open.Add(-1)
	at := place(kind, token.ResourceID, "")
	if want.Removed {
		return absent(ctx, mover, at)
	}
	return mover.Verify(ctx, at, want.Payload, want.Checksum)
}

// repair asks for a copy of what differs.
func (w *Worker) repair(ctx context.Context, token registry.Token, differs error) error {
	version, err := w.cfg.Registry.Repair(ctx, token, errors.Is(differs, transfer.ErrDamaged))
	if err != nil {
		return err
	}
	w.count(token.Kind, Mismatched, 1)
	w.cfg.Logger.WarnContext(ctx, "verification found a mismatch, copying again",
		append(tokenAttrs(token), "new_version", version, "err", differs)...)
	return nil
}
