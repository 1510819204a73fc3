package promote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/worker"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// tellEvery is how often it is told what goes on.
const tellEvery = 10 * time.Second

// applyEvery is how often it is asked whether all is applied.
const applyEvery = 200 * time.Millisecond

// apply has a worker of its own follow the log to its end, and copy what is to be copied,
// until nothing is left that has not failed, or Wait is over. Others may help. What has failed
// before is tried once more.
func (p *promotion) apply(ctx context.Context) error {
	return p.working(ctx, func(ctx context.Context) error {
		if err := p.retryFailed(ctx); err != nil {
			return err
		}
		return p.settle(ctx)
	})
}

// repair has resources copied again, using nothing of what is in place.
func (p *promotion) repair(ctx context.Context, damaged map[string][]string) error {
	queue, err := jobs.NewQueue(p.home, p.log)
	if err != nil {
		return err
	}
	return p.working(ctx, func(ctx context.Context) error {
		for _, kind := range slices.Sorted(maps.Keys(damaged)) {
			for _, key := range damaged[kind] {
				if _, err := registry.ResyncOne(ctx, p.home, queue, kind, key, true); err != nil {
					return err
				}
			}
		}
		return p.settle(ctx)
	})
}

// working calls f while a worker works. The worker's end ends f.
func (p *promotion) working(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cfg := p.cfg
	// It does nothing but this site's part of the log: other doors are those of workers.
	cfg.HTTPAddr, cfg.AdminAddr, cfg.RunnerAddr, cfg.ServeAddr = "", "", "", ""
	cfg.Manager.Socket, cfg.Watchdog, cfg.Migrate = "", 0, false
	done := make(chan error, 1)
	go func() {
		err := worker.Run(ctx, cfg)
		stop(errWorkerEnded)
		done <- err
	}()
	err := f(ctx)
	stop(nil)
	if ended := <-done; ended != nil {
		return fmt.Errorf("apply the log: %w", ended)
	}
	return err
}

// errWorkerEnded is why nothing is applied any more.
var errWorkerEnded = errors.New("the promotion's worker has ended")

func (p *promotion) retryFailed(ctx context.Context) error {
	queue, err := jobs.NewQueue(p.home, p.log)
	if err != nil {
		return err
	}
	kinds, err := eventlog.Kinds(ctx, p.home)
	if err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if _, err := registry.ResyncKind(ctx, p.home, queue, kind, registry.ResyncOptions{FailedOnly: true}); err != nil {
			return err
		}
	}
	return nil
}

// settle returns when nothing is left to do that has not failed, or when Wait is over: what
// is left then is in the report.
func (p *promotion) settle(ctx context.Context) error {
	deadline := time.Now().Add(p.opts.Wait)
	told := time.Now()
	for {
		left, err := p.left(ctx)
		if err != nil {
			return err
		}
		if left == (leftover{}) || time.Now().After(deadline) {
			return nil
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			p.log.InfoContext(ctx, "not all is applied yet", "events", left.events, "resources", left.resources, "comparisons", left.comparisons, "views", left.views)
		}
		if err := pause.For(ctx, applyEvery); err != nil {
			return err
		}
	}
}

// insufficientPrivilege is what a role hears that may only follow a log.
const insufficientPrivilege = "42501"

// leftover is what is still to do.
type leftover struct {
	events, resources, comparisons int64
	views                          int // of the source, that are behind
	otherLog                       bool
}

func (p *promotion) left(ctx context.Context) (l leftover, err error) {
	var report Report
	if err := beyond(ctx, p.home, p.source, &report); err != nil {
		return l, err
	}
	l.events, l.otherLog, l.views = report.Events, report.OtherLog, len(report.Views)
	if (l.events > 0 || l.views > 0) && !report.Standby {
		// What is beyond the last tick cannot be read, and perhaps nobody else takes one yet.
		_, err := p.source.Exec(ctx, "SELECT casq.tick(true)")
		if err != nil && database.Code(err) != insufficientPrivilege {
			return l, fmt.Errorf("take a tick at the source: %w", err)
		}
	}
	if err := p.home.QueryRow(ctx, promoteSQL.Open).Scan(&l.resources, &l.comparisons); err != nil {
		return l, fmt.Errorf("read what is to be done: %w", err)
	}
	return l, nil
}

func collectText(rows pgx.Rows) ([]string, error) { return pgx.CollectRows(rows, pgx.RowTo[string]) }
