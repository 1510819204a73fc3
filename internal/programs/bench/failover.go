package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/testing/servers"
	"casq/internal/testing/workers"

	"golang.org/x/sync/errgroup"
)

const failoverLease = 2 * time.Second

// failures are what happens to the process that follows the log, in the order
// of a round: after the last one Redis comes back empty.
var failures = []struct {
	name  string
	with  syscall.Signal
	redis bool
	bound time.Duration
	note  string
}{
	{"sigterm", syscall.SIGTERM, true, time.Second, "SIGTERM to the process"},
	{"batch", workers.Fail, true, 2 * time.Second, "a failing batch of the process"},
	{"sigkill", syscall.SIGKILL, true, failoverLease + 2*time.Second, "SIGKILL of the process"},
	{"noredis", syscall.SIGKILL, false, failoverLease + 2*time.Second, "SIGKILL, while Redis is down, of the process"},
}

// failover: seconds from something that happens to the process that follows the
// log, under load, until another one has committed a batch; against what is
// promised.
func failover(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := workers.Prepare(ctx, s.DB); err != nil {
		return nil, err
	}
	f := &failoverSite{redis: s.Redis}
	f.Group = workers.New(workers.Config{Program: program, DB: s.DB, URL: s.URL, RedisURL: s.Redis.URL(), Lease: failoverLease})
	defer f.Close()
	figures, err := f.play(ctx, m)
	if err != nil {
		return nil, err
	}
	return failoverResults(figures), nil
}

// failoverSite has three workers.
type failoverSite struct {
	*workers.Group
	redis *servers.Redis
}

// play plays all rounds while events are committed, and counts.
func (f *failoverSite) play(ctx context.Context, m *measure.Bench) (figures *measure.Figures, err error) {
	for _, name := range []string{"one", "two", "three"} {
		if err := f.startLearnt(ctx, name); err != nil {
			return nil, err
		}
	}
	stop := make(chan struct{})
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.Write(groupCtx, stop) })
	group.Go(func() (err error) {
		defer close(stop)
		figures, err = m.Rounds(groupCtx, func(took *measure.Figures) error { return f.round(groupCtx, took) })
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tally, err := f.Tally(ctx)
	return figures, errors.Join(err, tally.Err())
}

func (f *failoverSite) round(ctx context.Context, took *measure.Figures) error {
	for _, failure := range failures {
		before, err := f.steady(ctx)
		if err != nil {
			return err
		}
		if !failure.redis {
			if err := f.redis.Kill(); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := f.Signal(before.Name, failure.with); err != nil {
			return err
		}
		if _, err := f.TakenOver(ctx, before.Epoch); err != nil {
			return err
		}
		took.Add(failure.name, time.Since(began).Seconds())
		if !failure.redis {
			if err := f.redis.Start(ctx); err != nil {
				return err
			}
		}
		if failure.with != workers.Fail {
			_ = f.Ended(ctx, before.Name) // as it was told
			if err := f.startLearnt(ctx, before.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *failoverSite) startLearnt(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	if err := f.Start(name); err != nil {
		return err
	}
	return f.Learnt(ctx, name, began)
}

// steady returns when one process has followed the log for a while, which is
// drawn: what happens, happens anywhere between two renewals.
func (f *failoverSite) steady(ctx context.Context) (workers.Holder, error) {
	for {
		before, err := f.Holder(ctx)
		if err != nil {
			return before, err
		}
		select {
		case <-ctx.Done():
			return before, ctx.Err()
		case <-time.After(time.Second + rand.N(failoverLease/3)):
		}
		if now, err := f.Holder(ctx); err != nil || now == before {
			return now, err
		}
	}
}

func failoverResults(figures *measure.Figures) (all []measure.Result) {
	for _, failure := range failures {
		all = append(all, measure.Result{
			Bench: "failover/" + failure.name, Ours: figures.Median(failure.name), Reference: failure.bound.Seconds(), Unit: "s",
			Note: fmt.Sprintf("from %s that follows the log, under load, with a lease of %s, until another of three has committed a batch; median of %d, most %.2f; reference: what is promised",
				failure.note, failoverLease, measure.Rounds, figures.Percentile(failure.name, 100)),
		})
	}
	return all
}
