package worker

import (
	"context"
	"encoding/json"
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
	Probe(ctx context.Context, place transfer.Place, payload json.RawMessage, checksum string) (differs bool, err error)
}

// probed are the transfers that can be probed.
func (m *movers) probed() map[string]probing.Target {
	all := make(map[string]probing.Target)
	for name, t := range m.byTransfer {
		if p, ok := t.(prober); ok {
			all[name] = probed{p}
		}
	}
	return all
}

// probed makes a transfer that of the registry, which knows no transfers.
type probed struct{ prober }

// Probe implements [probing.Target].
func (p probed) Probe(ctx context.Context, kind eventlog.Kind, key string, payload json.RawMessage, checksum string) (bool, error) {
	differs, err := p.prober.Probe(ctx, transfer.Place{Prefix: kind.Prefix, SourcePrefix: kind.SourcePrefix, Key: key}, payload, checksum)
	switch {
	case errors.Is(err, transfer.ErrElsewhere), errors.Is(err, transfer.ErrAway), errors.Is(err, errors.ErrUnsupported):
		err = fmt.Errorf("%w: %w", probing.ErrAway, err)
	case errors.Is(err, transfer.ErrMissing):
		err = fmt.Errorf("%w: %w", probing.ErrMissing, err)
	}
	return differs, err
}
