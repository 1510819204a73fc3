package jobs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ending is how a run ends that did not succeed: what the row says and what
// River does agree.
type ending struct {
	cause   error
	missing bool       // at the source
	absent  bool       // and that is no failure
	retryAt *time.Time // nil: nobody tries again by himself
	river   error
}

// ending decides how a run ends. What the source does not have may come at any
// time, and is tried for as long as it is wanted: River's attempts would run
// out, so its job sleeps instead, and does not count them.
func (w *Worker) ending(ctx context.Context, job *rivertype.JobRow, claim *registry.Claim, cause error) ending {
	end := ending{cause: explain(ctx, cause), river: cause}
	switch {
	case errors.Is(cause, transfer.ErrBadPlace), errors.Is(cause, transfer.ErrBadPayload), errors.Is(cause, transfer.ErrTooLarge),
		cancelled(ctx):
		end.river = river.JobCancel(cause)
	case errors.Is(cause, transfer.ErrMissing) && mayBeAbsent(claim):
		wait := backOff(claim.Attempts, maxAbsent, job)
		end.missing, end.absent, end.retryAt, end.river = true, true, new(w.cfg.Queue.clock.Now().Add(wait)), river.JobSnooze(wait)
	case errors.Is(cause, transfer.ErrMissing):
		wait := backOff(claim.Attempts, maxMissing, job)
		end.missing, end.retryAt, end.river = true, new(w.cfg.Queue.clock.Now().Add(wait)), river.JobSnooze(wait)
	case errors.Is(cause, transfer.ErrElsewhere), errors.Is(cause, transfer.ErrAway):
		// All runs meet it, until somebody has mounted what is missing, or the source is back.
		wait := backOff(claim.Attempts, maxElsewhere, job)
		end.retryAt, end.river = new(w.cfg.Queue.clock.Now().Add(wait)), river.JobSnooze(wait)
	case job.Attempt < job.MaxAttempts:
		end.retryAt = new(w.cfg.Queue.nextRetry(job))
	}
	return end
}

// mayBeAbsent tells whether what the source does not have is no failure: its kind says so, and
// nothing of it is in place. What is in place, and was therefore at the source once, is
// missed.
func mayBeAbsent(claim *registry.Claim) bool {
	return claim.Of.Missing == eventlog.MissingAbsent && claim.Nothing
}

func (e ending) write(r *registry.Registry, claim *registry.Claim) (superseded bool, err error) {
	switch {
	case e.absent:
		return r.Absent(claim, e.cause, *e.retryAt)
	case e.missing:
		return r.Missing(claim, e.cause, *e.retryAt)
	default:
		return r.Fail(claim, e.cause, e.retryAt)
	}
}

// The longest times between two attempts.
const (
	maxRetry     = 24 * time.Hour
	maxMissing   = 15 * time.Minute
	maxAbsent    = time.Hour
	maxElsewhere = time.Minute
)

// nextRetry is the same for the row and for River.
func (q *Queue) nextRetry(job *rivertype.JobRow) time.Time {
	return q.clock.Now().Add(backOff(job.Attempt, maxRetry, job))
}

// backOff is attempt^4 seconds, or the limit, spread by a tenth so that jobs
// which failed together do not come back together.
func backOff(attempt int, limit time.Duration, job *rivertype.JobRow) time.Duration {
	seconds := math.Min(math.Pow(float64(attempt), 4), limit.Seconds())
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%d.%d", job.ID, attempt)
	spread := 1 + (float64(h.Sum32()%1000)/1000-0.5)/5
	return time.Duration(seconds * spread * float64(time.Second))
}
