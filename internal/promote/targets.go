package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"casq/eventlog"
	"casq/internal/worker"
	"casq/transfer"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// target is what a promotion needs of one.
type target interface {
	worker.Endpoints
	retirer
	stager
	Verify(ctx context.Context, place transfer.Place, payload json.RawMessage, checksum string) error
}

// retirer can be given up as a target.
type retirer interface {
	Retire(ctx context.Context, record []byte) error
	Retired(ctx context.Context) ([]byte, error)
}

// stager tells what runs have staged.
type stager interface {
	ListStaging(ctx context.Context, each func(transfer.Staged) error) error
	DropStaging(ctx context.Context, s transfer.Staged) error
}

// repositories is what it needs of one of repositories.
type repositories interface {
	Release(ctx context.Context, place transfer.Place) error
	VerifyInPlace(ctx context.Context, place transfer.Place, checksum string) error
}

// targets are by transfer.
type targets map[string]target

func openTargets(ctx context.Context, cfg worker.Config) (targets, error) {
	opened := make(targets)
	for _, t := range []struct {
		transfer, target string
		open             func(context.Context, worker.Config) (worker.Endpoints, error)
	}{
		{eventlog.TransferFile, cfg.ArtifactTarget, worker.OpenFiles},
		{eventlog.TransferGit, cfg.RepositoryTarget, worker.OpenRepositories},
	} {
		if t.target == "" {
			continue
		}
		endpoints, err := t.open(ctx, cfg)
		if err != nil {
			return opened, err
		}
		is, ok := endpoints.(target)
		if !ok {
			return opened, errors.Join(fmt.Errorf("a target of type %T cannot be promoted", endpoints), endpoints.Close())
		}
		opened[t.transfer] = is
	}
	return opened, nil
}

func (t targets) close() error {
	var errs []error
	for _, one := range t {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// retired is the record of a target that was given up; nil: none was.
func (t targets) retired(ctx context.Context) (record []byte, err error) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if record, err = t[name].Retired(ctx); record != nil || err != nil {
			return record, err
		}
	}
	return nil, nil
}

// retire gives all targets up. One of two may have been given up before a crash.
func (t targets) retire(ctx context.Context, record []byte) error {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := t[name].Retire(ctx, record); err != nil {
			return err
		}
	}
	return nil
}

// fence drops all that runs have staged: one that was frozen has nothing to publish.
func (t targets) fence(ctx context.Context) error {
	for _, one := range t {
		err := one.ListStaging(ctx, func(s transfer.Staged) error { return one.DropStaging(ctx, s) })
		if err != nil {
			return fmt.Errorf("remove what was staged: %w", err)
		}
	}
	return nil
}

// finish does what comes after the targets were given up. It may be done again.
func (p *promotion) finish(ctx context.Context, result *Result) error {
	if p.opts.DryRun {
		return nil
	}
	// All of them: a crash may have come between two.
	if err := p.retire(ctx, result.Report); err != nil {
		return err
	}
	if err := p.targets.fence(ctx); err != nil {
		return err
	}
	if err := p.layout(ctx, result); err != nil {
		return err
	}
	kinds, err := eventlog.Kinds(ctx, p.home)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if is, ok := p.targets[kinds[name].Transfer].(repositories); ok {
			if err := p.release(ctx, is, kinds[name], result); err != nil {
				return err
			}
		}
	}
	return nil
}

// pageSize is how many rows are read at once.
const pageSize = 500

// release makes the mirrors of a kind working repositories. One that cannot be is named.
func (p *promotion) release(ctx context.Context, to repositories, kind eventlog.Kind, result *Result) error {
	for last := ""; ; {
		rows, err := p.home.Query(ctx, promoteSQL.Repositories, kind.Name, last, pageSize)
		if err != nil {
			return fmt.Errorf("list repositories of kind %s: %w", kind.Name, err)
		}
		keys, err := collectText(rows)
		if err != nil {
			return fmt.Errorf("list repositories of kind %s: %w", kind.Name, err)
		}
		for _, key := range keys {
			p.point("promote:release")
			err := to.Release(ctx, transfer.Place{Prefix: kind.Prefix, SourcePrefix: kind.SourcePrefix, Key: key, Claim: uuid.NewString()})
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				result.Unreleased = append(result.Unreleased, fmt.Sprintf("%s %s: %v", kind.Name, key, err))
			default:
				result.Repositories++
			}
			last = key
		}
		if len(keys) < pageSize {
			return nil
		}
	}
}

// verify reads what is in place, as far as it is asked for, and returns what is not what was
// copied.
func (p *promotion) verify(ctx context.Context) (damaged map[string][]string, verified int64, err error) {
	damaged = make(map[string][]string)
	if p.opts.Verify == VerifyNone {
		return damaged, 0, nil
	}
	kinds, err := eventlog.Kinds(ctx, p.home)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if to := p.targets[kinds[name].Transfer]; to != nil {
			n, err := p.verifyKind(ctx, to, kinds[name], damaged)
			if err != nil {
				return nil, 0, err
			}
			verified += n
		}
	}
	return damaged, verified, nil
}

func (p *promotion) verifyKind(ctx context.Context, to target, kind eventlog.Kind, damaged map[string][]string) (verified int64, err error) {
	told := time.Now()
	var within any
	if p.opts.Verify == VerifyChanged {
		within = p.opts.Since
	}
	for last := ""; ; {
		rows, err := p.home.Query(ctx, promoteSQL.Page, kind.Name, last, pageSize, within)
		if err != nil {
			return verified, fmt.Errorf("list what is in place of kind %s: %w", kind.Name, err)
		}
		page, err := pgx.CollectRows(rows, pgx.RowToStructByPos[placed])
		if err != nil {
			return verified, fmt.Errorf("list what is in place of kind %s: %w", kind.Name, err)
		}
		for _, r := range page {
			if time.Since(told) > tellEvery {
				told = time.Now()
				p.log.InfoContext(ctx, "reading what is in place", "kind", kind.Name, "read", verified, "resource_id", r.Key)
			}
			mismatch := r.verify(ctx, to, kind)
			switch {
			case errors.Is(mismatch, transfer.ErrMismatch):
				same, err := p.unchanged(ctx, kind.Name, r)
				if err != nil {
					return verified, err
				}
				if !same {
					break // a worker has exchanged it meanwhile
				}
				p.log.WarnContext(ctx, "what is in place differs", "kind", kind.Name, "resource_id", r.Key, "err", mismatch)
				damaged[kind.Name] = append(damaged[kind.Name], r.Key)
			case mismatch != nil:
				return verified, mismatch
			default:
				verified++
			}
			last = r.Key
		}
		if len(page) < pageSize {
			return verified, nil
		}
	}
}

// unchanged tells whether a row is as it was read.
func (p *promotion) unchanged(ctx context.Context, kind string, r placed) (same bool, err error) {
	err = p.home.QueryRow(ctx, promoteSQL.Same, kind, r.Key, r.Version).Scan(&same)
	if err != nil {
		return false, fmt.Errorf("read %s %q again: %w", kind, r.Key, err)
	}
	return same, nil
}

// placed is a row of what is in place.
type placed struct {
	Key      string
	Version  int64
	Payload  json.RawMessage
	Checksum string
}

// verify compares with what was copied: the source may be gone.
func (r placed) verify(ctx context.Context, to target, kind eventlog.Kind) error {
	place := transfer.Place{Prefix: kind.Prefix, SourcePrefix: kind.SourcePrefix, Key: r.Key}
	if is, ok := to.(repositories); ok {
		return is.VerifyInPlace(ctx, place, r.Checksum)
	}
	return to.Verify(ctx, place, r.Payload, r.Checksum)
}
