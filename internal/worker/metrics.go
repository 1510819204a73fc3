package worker

import (
	"context"
	"fmt"

	"casq/eventlog"
	"casq/jobs"
	"casq/transfer/folder"
)

// tellMetrics has what is in memory told of by /metrics.
func (w *worker) tellMetrics() {
	w.metrics.Pool("home", w.home)
	w.metrics.Pool("source", w.source)
	for i, pool := range w.replicas {
		w.metrics.Pool(fmt.Sprintf("standby%d", i+1), pool)
	}
	if w.runners != nil {
		for i, pool := range w.runners.pools {
			w.metrics.Pool(fmt.Sprintf("runner%d", i), pool)
		}
	}
	w.metrics.Roles(func() map[string]bool {
		state, _ := w.roles.snapshot()
		ready := make(map[string]bool, len(state))
		for role, s := range state {
			ready[role] = s.Ready
		}
		return ready
	})
}

// sample samples home for /metrics, where there is anybody who could ask.
func (w *worker) sample(ctx context.Context) {
	if w.cfg.HTTPAddr == "" {
		return
	}
	targets := make(map[string]string)
	for transfer, target := range map[string]string{
		eventlog.TransferFile: w.cfg.ArtifactTarget, eventlog.TransferGit: w.cfg.RepositoryTarget,
	} {
		if target != "" && folder.Is(target) {
			targets[transfer] = target
		}
	}
	w.metrics.Sample(ctx, w.home, targets, w.log)
}

// applied is called with each batch that the registry has applied.
func (w *worker) applied(batch eventlog.Batch) {
	w.known.see(batch)
	w.countEvents(batch)
}

// countEvents counts the events of a batch that the registry has applied. Those of kinds
// that are not defined, which are dead-lettered, are told as other: they may have any name.
func (w *worker) countEvents(batch eventlog.Batch) {
	type part struct{ kind, op string }
	counts := make(map[part]int)
	for _, e := range batch.Events {
		kind := e.Kind
		if _, known := batch.Kinds[kind]; !known {
			kind = "other"
		}
		if !e.Signal() {
			counts[part{kind, string(e.Op)}]++
		}
	}
	for p, n := range counts {
		w.metrics.Add("casq_events_applied_total", float64(n), p.kind, p.op)
	}
}

// countRun counts what has come of a run.
func (w *worker) countRun(kind string, stat jobs.Stat, n int64) {
	switch stat {
	case jobs.Claimed:
		w.metrics.Add("casq_claims_total", float64(n), kind)
	case jobs.Bytes:
		w.metrics.Add("casq_copied_bytes_total", float64(n), kind)
	case jobs.Missing:
		w.metrics.Add("casq_runs_missing_total", float64(n), kind)
	case jobs.Verified, jobs.Mismatched:
		w.metrics.Add("casq_verifications_total", float64(n), kind, stat.String())
	default:
		w.metrics.Add("casq_runs_total", float64(n), kind, stat.String())
	}
}
