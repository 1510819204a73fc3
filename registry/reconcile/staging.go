package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Staged is a folder in which a run of a claim works, or has worked.
type Staged struct {
	Folder string // as [Staging] calls it
	Claim  string
}

// Staging are the folders that runs work in, at one target.
type Staging interface {
	ListStaging(ctx context.Context, each func(Staged) error) error
	DropStaging(ctx context.Context, s Staged) error
}

// stagingLimit is how many folders of a target one run goes through; the next one goes
// on. In the ordinary case the folders are those of the claims at work.
const stagingLimit = 10_000

// claimsPage is how many rows are read at once for their claims.
const claimsPage = 10_000

var errEnough = errors.New("enough")

// staging removes the folders that no run works in any more. They are listed
// first, and the claims are read afterwards: a folder is made after its
// claim has committed, and a claim that is given back never returns. So a listed
// folder whose claim is not seen is nobody's. A target that does not answer is
// left to the next run.
func (run *takenRun) staging(ctx context.Context) error {
	removed := 0
	for _, s := range run.cfg.Staging {
		n, err := run.stagingOf(ctx, s)
		removed += n
		if _, target := errors.AsType[*targetError](err); target && ctx.Err() == nil {
			run.log.WarnContext(ctx, "cannot tidy a target's staging, left to the next run", "run", run.id, "err", err)
		} else if err != nil {
			return err
		}
	}
	return run.commit(ctx, progress{phase: stagingPhase}, "", &found{staging: removed}, nil)
}

// stagingOf removes what is left behind at one target, and counts it.
func (run *takenRun) stagingOf(ctx context.Context, s Staging) (removed int, err error) {
	dead, err := run.listStaging(ctx, s)
	if err != nil {
		return 0, err
	}
	if err := run.keepClaimed(ctx, dead); err != nil {
		return 0, err
	}
	for _, staged := range dead {
		if !run.dry {
			if err := s.DropStaging(ctx, staged); err != nil {
				return removed, fmt.Errorf("remove staging %s: %w", staged.Folder, &targetError{err})
			}
		}
		removed++
	}
	return removed, nil
}

// listStaging returns the folders of a target by claim.
func (run *takenRun) listStaging(ctx context.Context, s Staging) (map[string]Staged, error) {
	staged := make(map[string]Staged)
	err := s.ListStaging(ctx, func(f Staged) error {
		if len(staged) == stagingLimit {
			return errEnough
		}
		staged[f.Claim] = f
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("list staging: %w", &targetError{err})
	}
	run.cfg.Hook("reconcile:staged")
	return staged, nil
}

// keepClaimed takes those out that some row has as its claim, by a walk through
// the registry.
func (run *takenRun) keepClaimed(ctx context.Context, staged map[string]Staged) error {
	kind, key := "", ""
	for len(staged) > 0 {
		var claims []string
		err := run.cfg.Home.QueryRow(ctx, runSQL.Claims, kind, key, claimsPage).Scan(&kind, &key, &claims)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read claims: %w", err)
		}
		for _, claim := range claims {
			delete(staged, claim)
		}
	}
	return nil
}
