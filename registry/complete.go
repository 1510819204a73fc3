package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"casq/internal/database"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	completeGroup = 256
	publishGroup  = 64 // publications that share a transaction
)

// Result is what a run put in place.
type Result struct {
	Checksum string
	Size     int64 // bytes
	Held     int64 // of them, that were in place already; not kept
	// Partial says that the run brought only what differed: nothing else of what is in
	// place was compared.
	Partial bool
	// State is what a probe compares, of a source that does not look like the copy; "": nothing.
	State string
}

// mostReason is how much the row keeps of an error, in bytes; River's own record has
// the rest.
const mostReason = 4000

// Publish ends the run with success: in one transaction the row is locked
// under token and claim, publish is called (nil: there are no bytes), and the
// result is written. publish makes one rename or ref update and nothing else;
// it may be called again when its transaction did not commit, and must then
// find that its work is done.
//
// When a newer version of the same incarnation is asked for meanwhile, what was
// copied is published as the older version that it is, so that a resource that
// changes faster than it can be copied still makes progress. [ErrSuperseded]
// says that nothing was published, since the resource was deleted or replaced;
// [ErrFenced] that the claim was lost. After any other error the claim is
// still held.
func (r *Registry) Publish(c *Claim, result Result, publish func(context.Context) error) error {
	return r.complete(&completion{claim: c, outcome: published, result: result, publish: publish})
}

// Fail ends the run with an error, which is written to the row only while the
// token is its version; then superseded is false. A nil retryAt says that
// the version is not tried again by itself. After an error the claim is given back,
// too, unless the process is lost.
func (r *Registry) Fail(c *Claim, cause error, retryAt *time.Time) (superseded bool, err error) {
	return r.fail(&completion{claim: c, cause: database.Text(cause.Error(), mostReason), retryAt: retryAt})
}

// Missing is [Registry.Fail] for a resource that the source does not have: the row
// says since when.
func (r *Registry) Missing(c *Claim, cause error, retryAt time.Time) (superseded bool, err error) {
	text := database.Text("missing at the source: "+cause.Error(), mostReason)
	return r.fail(&completion{claim: c, cause: text, retryAt: &retryAt, missing: true})
}

// Absent is [Registry.Missing] for a kind of which that is no failure.
func (r *Registry) Absent(c *Claim, cause error, retryAt time.Time) (superseded bool, err error) {
	return r.fail(&completion{claim: c, cause: database.Text(cause.Error(), mostReason), retryAt: &retryAt, missing: true, absent: true})
}

func (r *Registry) fail(s *completion) (superseded bool, err error) {
	s.outcome = failed
	err = r.complete(s)
	if errors.Is(err, ErrSuperseded) {
		return true, nil
	}
	return false, err
}

// Release gives the claim back unfinished, as a worker does that stops, and
// queues a job for the row's version.
func (r *Registry) Release(c *Claim) error {
	err := r.complete(&completion{claim: c, outcome: released})
	if errors.Is(err, ErrSuperseded) {
		return nil
	}
	return err
}

type outcome int

const (
	published outcome = iota
	failed
	released
)

// completion is one call of Publish, Fail or Release on its way through the
// batcher.
type completion struct {
	claim   *Claim
	outcome outcome
	result  Result
	publish func(context.Context) error
	cause   string
	retryAt *time.Time
	missing bool // at the source
	absent  bool // and that is no failure

	err    error // for the caller
	unsure bool  // it may have been written by a transaction whose answer was lost
	done   chan struct{}
}

// verdict is what a run may still do, read under the row's lock.
type verdict struct {
	mine            bool // the claim is still this run's
	newest          bool // the token is the row's version
	sameIncarnation bool // the resource was neither deleted nor replaced
	asked           bool // another run was handed over to this one
	synced          bool // what is in place is of the token's version
	failed          bool // the failure that the row tells of is of the token's version
	// An operator has cancelled the version, maybe since the run decided how it ends: it
	// is not tried again.
	cancelled bool
}

func (r *Registry) complete(s *completion) error {
	s.done = make(chan struct{})
	r.results.add(s)
	<-s.done
	return s.err
}

// completeAll ends a group of runs in one transaction, again and again until the
// database answers: the result of an hour's copy is not thrown away because
// the database restarts. Publishing again is harmless, see Publish.
func (r *Registry) completeAll(group []*completion) {
	slices.SortFunc(group, func(a, b *completion) int { return compareTokens(a.claim.Token, b.claim.Token) })
	for try := 0; ; try++ {
		left, err := r.tryComplete(group)
		if err == nil {
			r.results.add(left...)
			return
		}
		r.cfg.Logger.Warn("cannot end runs, trying again", "runs", len(group), "err", err)
		if permanent(err) && len(group) > 1 {
			each(group, r.completeAll)
			return
		}
		if permanent(err) && group[0].outcome != published {
			err = r.giveUp(group[0], err)
		}
		if permanent(err) || !r.backOff(try) {
			for _, s := range group {
				s.err = fmt.Errorf("end run of %s %q: %w", s.claim.Kind, s.claim.ResourceID, r.because(err))
				close(s.done)
			}
			return
		}
		for _, s := range group {
			s.unsure = s.unsure || !database.Answered(err)
		}
	}
}

// giveUp gives back the claim of a run whose end the database refuses for good:
// no other process would, for as long as this one lives. It returns the refusal.
func (r *Registry) giveUp(s *completion, refusal error) error {
	c, reason := s.claim, database.Text("the database refused the result: "+refusal.Error(), mostReason)
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(r.process.Done(), statementTimeout)
		_, err := r.cfg.Pool.Exec(ctx, claimSQL.GiveUp, c.Kind, c.ResourceID, c.Version, c.ID, reason, s.retryAt, failureReason(reason))
		cancel()
		if err == nil {
			return refusal
		}
		r.cfg.Logger.Error("cannot give a claim back; it is held until this process ends", "kind", c.Kind, "resource_id", c.ResourceID, "err", err)
		if permanent(err) || !r.backOff(try) {
			return errors.Join(refusal, err)
		}
	}
}

// tryComplete is one transaction. It answers the runs that were ended, and
// returns those that did not fit in.
//
// If the process dies before the commit, what was renamed is in place under a
// row that does not say so; the claim is swept and the next run puts the same
// bytes there again. If it is stopped here and its session ended, its staging
// folder is gone by the time that another run publishes: its late rename fails.
func (r *Registry) tryComplete(group []*completion) (left []*completion, err error) {
	ctx, cancel := context.WithTimeout(r.process.Done(), statementTimeout)
	defer cancel()
	var ended []*completion
	err = pgx.BeginTxFunc(ctx, r.cfg.Pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		verdicts, err := r.verdicts(ctx, tx, group)
		if err != nil {
			return err
		}
		r.cfg.Hook("complete:locked")
		var write []completed
		ended, write, left = r.publishAll(ctx, group, verdicts)
		r.cfg.Hook("complete:published")
		return r.write(ctx, tx, write)
	})
	if err != nil {
		return nil, err
	}
	r.cfg.Hook("complete:committed")
	for _, s := range ended {
		close(s.done)
	}
	return left, nil
}

func (r *Registry) verdicts(ctx context.Context, tx pgx.Tx, group []*completion) (map[uuid.UUID]verdict, error) {
	n := len(group)
	kinds, keys, versions, claims, incarnations := make([]string, n), make([]string, n), make([]int64, n), make(uuids, n), make([]int64, n)
	for i, s := range group {
		kinds[i], keys[i], versions[i], incarnations[i] = s.claim.Kind, s.claim.ResourceID, s.claim.Version, s.claim.Incarnation
		claims[i] = pgtype.UUID{Bytes: s.claim.ID, Valid: true}
	}
	rows, err := tx.Query(ctx, claimSQL.Verdict, kinds, keys, versions, claims, incarnations, ErrCancelled.Error())
	if err != nil {
		return nil, fmt.Errorf("lock rows: %w", err)
	}
	verdicts := make(map[uuid.UUID]verdict, len(group))
	var id uuid.UUID
	var v verdict
	_, err = pgx.ForEachRow(rows, []any{&id, &v.mine, &v.newest, &v.sameIncarnation, &v.asked, &v.synced, &v.failed, &v.cancelled}, func() error {
		verdicts[id] = v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock rows: %w", err)
	}
	return verdicts, nil
}
