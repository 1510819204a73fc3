package worker

import (
	"context"
	"errors"
	"fmt"

	"casq/eventlog"
	"casq/registry"
	"casq/registry/probing"
	"casq/transfer"
)

// probe compares what is in place with its source, at the paces of the kinds, until ctx is
// done or the process is lost.
func (w *worker) probe(ctx context.Context, process *registry.Process) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(process.Done(), cancel)()
	probing.New(probing.Config{
		Home: w.home, Jobs: w.queue, Targets: w.movers.probed(), Logger: w.log, Hook: w.cfg.Hook,
		Counted: func(kind, outcome string, n int) { w.metrics.Add("casq_probes_total", float64(n), kind, outcome) },
	}).Run(ctx)
}

// prober is a transfer that can compare what is in place with the source without
// reading it.
type prober interface {
	Probe(ctx context.Context, copied transfer.Copied) (differs bool, err error)
}

// lister is a prober whose source may tell of many resources at once.
type lister interface {
	prober
	Lists() bool
	ProbeAll(ctx context.Context, copies []transfer.Copied, told func(i int, differs bool, err error)) error
}

// probed are the transfers that can be probed.
func (m *movers) probed() map[string]probing.Target {
	all := make(map[string]probing.Target)
	for name, t := range m.byTransfer {
		if l, ok := t.(lister); ok && l.Lists() {
			all[name] = listed{probed{l}, l}
		} else if p, ok := t.(prober); ok {
			all[name] = probed{p}
		}
	}
	return all
}

// probed makes a transfer that of the registry, which knows no transfers.
type probed struct{ prober }

// Probe implements [probing.Target].
func (p probed) Probe(ctx context.Context, kind eventlog.Kind, c probing.Copy) (bool, error) {
	differs, err := p.prober.Probe(ctx, copied(kind, c))
	return differs, probedError(err)
}

func copied(kind eventlog.Kind, c probing.Copy) transfer.Copied {
	place := transfer.Place{Prefix: kind.Prefix, SourcePrefix: kind.SourcePrefix, Key: c.Key}
	return transfer.Copied{Place: place, Payload: c.Payload, Checksum: c.Checksum, State: c.State}
}

func probedError(err error) error {
	switch {
	case errors.Is(err, transfer.ErrElsewhere), errors.Is(err, transfer.ErrAway), errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w: %w", probing.ErrAway, err)
	case errors.Is(err, transfer.ErrMissing):
		return fmt.Errorf("%w: %w", probing.ErrMissing, err)
	}
	return err
}

// listed is likewise for a source that lists.
type listed struct {
	probed
	lister lister
}

// ProbeAll implements [probing.Listed].
func (l listed) ProbeAll(ctx context.Context, kind eventlog.Kind, copies []probing.Copy, told func(i int, differs bool, err error)) error {
	all := make([]transfer.Copied, len(copies))
	for i, c := range copies {
		all[i] = copied(kind, c)
	}
	return probedError(l.lister.ProbeAll(ctx, all, func(i int, differs bool, err error) { told(i, differs, probedError(err)) }))
}
