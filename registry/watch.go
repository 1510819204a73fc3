package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// watchInterval is how often the rows of held claims are polled. Work that is done
// within one interval costs nothing; the rest costs an index look-up for each
// claim. An event cannot tell the run itself: a notification per row would be
// sent in the transposer's transaction, and locks out others at its commit.
const watchInterval = time.Second

// watchPage is how many claims are polled in one statement.
const watchPage = 1000

// causes are sweepSQL.Lost's words.
var causes = map[string]error{"fenced": ErrFenced, "replaced": ErrReplaced, "cancelled": ErrCancelled}

// held is a claim whose work is under way.
type held struct {
	claim  *Claim
	cancel context.CancelCauseFunc
	seen   bool // by a poll before this one: the work is long enough to watch
}

// watchClaims cancels work that is for nothing: single claims that were taken
// over, and resources that were deleted or replaced. That only saves work, and lets
// the removal begin soon: neither could be written. A run that an operator has
// cancelled hears of it here when River's notice has not reached this process: a
// notice is lost while nobody listens, as after a failover, and River itself asks
// only each minute.
func (p *Process) watchClaims(ctx context.Context) error {
	for page := range slices.Chunk(p.longHeld(), watchPage) {
		if err := p.watchPage(ctx, page); err != nil {
			return fmt.Errorf("read held claims: %w", err)
		}
	}
	return nil
}

func (p *Process) watchPage(ctx context.Context, claims []*Claim) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	var kinds, keys []string
	var versions, incarnations []int64
	var ids []uuid.UUID
	var deleted []bool
	for _, c := range claims {
		kinds, keys, ids = append(kinds, c.Kind), append(keys, c.ResourceID), append(ids, c.ID)
		versions, incarnations, deleted = append(versions, c.Version), append(incarnations, c.Incarnation), append(deleted, c.Deleted)
	}
	rows, err := p.cfg.Pool.Query(ctx, sweepSQL.Lost, kinds, keys, versions, ids, incarnations, deleted, ErrCancelled.Error())
	if err != nil {
		return err
	}
	var id uuid.UUID
	var why string
	_, err = pgx.ForEachRow(rows, []any{&id, &why}, func() error {
		p.end(id, causes[why])
		return nil
	})
	return err
}

// end cancels a claim's work, if it still goes on.
func (p *Process) end(claim uuid.UUID, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.held[claim]; h != nil {
		h.cancel(cause)
	}
}

// longHeld returns the claims that a poll before this one has seen already.
func (p *Process) longHeld() []*Claim {
	p.mu.Lock()
	defer p.mu.Unlock()
	var long []*Claim
	for _, h := range p.held {
		if h.seen {
			long = append(long, h.claim)
		}
		h.seen = true
	}
	return long
}
