package jobs

import (
	"context"
	"encoding/json"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Transfer moves the bytes of one kind of transfer; see package transfer.
type Transfer interface {
	Begin(ctx context.Context, place transfer.Place) (transfer.Run, error)
	Sweep(ctx context.Context, place transfer.Place) error
	Verify(ctx context.Context, place transfer.Place, payload json.RawMessage, checksum string) error
}

// Transfers are those that a process has a target for, by transfer: file, git.
type Transfers map[string]Transfer

func place(kind eventlog.Kind, key, claim string) transfer.Place {
	return transfer.Place{Prefix: kind.Prefix, SourcePrefix: kind.SourcePrefix, Key: key, Claim: claim}
}

// asides is a [Transfer] that puts copies aside: see transfer.Place.
type asides interface {
	ListAside(ctx context.Context) ([]string, error)
	DropAside(ctx context.Context, name string) error
}

// SweepAside deletes what was put aside and no move keeps any more. What is there is listed
// first: a move that will keep it is there by then.
func (t Transfers) SweepAside(ctx context.Context, home *pgxpool.Pool) error {
	for name, mover := range t {
		a, ok := mover.(asides)
		if !ok {
			continue
		}
		names, err := a.ListAside(ctx)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			continue
		}
		kept, err := keptAside(ctx, home, name)
		if err != nil {
			return err
		}
		for _, aside := range names {
			if kept[aside] {
				continue
			}
			if err := a.DropAside(ctx, aside); err != nil {
				return err
			}
		}
	}
	return nil
}

// keptAside are the names of what moves keep, of one transfer.
func keptAside(ctx context.Context, home *pgxpool.Pool, of string) (map[string]bool, error) {
	kept, err := registry.Kept(ctx, home)
	if err != nil {
		return nil, err
	}
	kinds, err := eventlog.Kinds(ctx, home)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool)
	for kind, bases := range kept {
		for _, b := range bases {
			if base, err := place(kinds[kind], "", "").BaseOf(b.Key, b.Incarnation); err == nil && kinds[kind].Transfer == of {
				names[transfer.AsideName(base.Path, base.Incarnation)] = true
			}
		}
	}
	return names, nil
}

// Sweep removes the staging of a claim that its dead process left behind; see
// registry.ProcessConfig. What is left of one at a place that the kind had before is
// found by the next reconcile.
func (t Transfers) Sweep(ctx context.Context, home eventlog.DB, kind, resourceID, claim string) error {
	kinds, err := eventlog.Kinds(ctx, home)
	if err != nil {
		return err
	}
	k := kinds[kind]
	mover := t[k.Transfer]
	if mover == nil {
		return nil
	}
	return mover.Sweep(ctx, place(k, resourceID, claim))
}
