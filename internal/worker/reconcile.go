package worker

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"casq/eventlog"
	"casq/registry"
	"casq/registry/reconcile"
	"casq/transfer"

	"github.com/google/uuid"
)

// reconcile compares the registry with the source, as it is asked for or is
// due, until ctx is done or the process is lost.
func (w *worker) reconcile(ctx context.Context, process *registry.Process) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(process.Done(), cancel)()
	reconcile.New(reconcile.Config{
		Home: w.home, Source: w.source, Jobs: w.queue, Checks: w.queue, Process: process.ID(), Logger: w.log,
		Every: w.cfg.ReconcileInterval, VerifyEvery: w.cfg.VerifyInterval,
		Staging: w.movers.staging(), Targets: w.movers.targets(), WalkEvery: w.cfg.VerifyInterval, InPlace: w.inPlace, Hook: w.cfg.Hook,
	}).Run(ctx)
}

// leftovers are what a transfer's target has staged.
type leftovers interface {
	ListStaging(ctx context.Context, each func(transfer.Staged) error) error
	DropStaging(ctx context.Context, s transfer.Staged) error
}

// staging of all targets that this worker has.
func (m *movers) staging() []reconcile.Staging {
	var all []reconcile.Staging
	for _, t := range m.byTransfer {
		if l, ok := t.(leftovers); ok {
			all = append(all, staging{l})
		}
	}
	return all
}

// staging makes a transfer's staging that of the registry, which knows no
// transfers.
type staging struct{ leftovers }

// ListStaging implements [reconcile.Staging].
func (s staging) ListStaging(ctx context.Context, each func(reconcile.Staged) error) error {
	return s.leftovers.ListStaging(ctx, func(t transfer.Staged) error { return each(reconcile.Staged(t)) })
}

// DropStaging implements [reconcile.Staging].
func (s staging) DropStaging(ctx context.Context, t reconcile.Staged) error {
	return s.leftovers.DropStaging(ctx, transfer.Staged(t))
}

// sweepStaging removes the staging of a claim that its dead process left behind.
func (w *worker) sweepStaging(ctx context.Context, kind, resourceID string, claim uuid.UUID) {
	if err := w.movers.byTransfer.Sweep(ctx, w.home, kind, resourceID, claim.String()); err != nil {
		w.log.WarnContext(ctx, "cannot remove the staging of a dead process", "kind", kind, "resource_id", resourceID, "err", err)
	}
}

// walker is a transfer's target, through which one can walk.
type walker interface {
	Walk(ctx context.Context, prefix, after string, each func(transfer.Placed) error) error
}

// targets are those that this worker has, by transfer.
func (m *movers) targets() map[string]reconcile.Target {
	all := make(map[string]reconcile.Target)
	for name, t := range m.byTransfer {
		if w, ok := t.(walker); ok {
			all[name] = target{w}
		}
	}
	return all
}

// target makes a transfer's target that of the registry.
type target struct{ walker }

// Walk implements [reconcile.Target].
func (t target) Walk(ctx context.Context, prefix, after string, each func(reconcile.Placed) error) error {
	return t.walker.Walk(ctx, prefix, after, func(p transfer.Placed) error { return each(reconcile.Placed(p)) })
}

// inPlace tells whether something is at the place of a resource, where the target
// is a folder. It is only for the report, and opens nothing.
func (w *worker) inPlace(_ context.Context, kind eventlog.Kind, key string) bool {
	target := map[string]string{
		eventlog.TransferFile: strings.TrimPrefix(w.cfg.ArtifactTarget, "file://"),
		eventlog.TransferGit:  strings.TrimPrefix(w.cfg.RepositoryTarget, "file://"),
	}[kind.Transfer]
	path := filepath.Join(kind.Prefix, key)
	if target == "" || strings.Contains(target, "://") || !filepath.IsLocal(path) {
		return false
	}
	_, err := os.Lstat(filepath.Join(target, path))
	return err == nil
}
