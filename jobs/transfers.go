package jobs

import (
	"context"
	"encoding/json"

	"casq/eventlog"
	"casq/transfer"
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
