package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	topEvents  = 20_000
	loadEvery  = 10 * time.Millisecond
	probeEvery = 20 * time.Millisecond
)

// load is a site with a worker in a process of its own, which is kept busy at a steady rate.
type load struct {
	*site
	worker *exec.Cmd
}

// newLoad starts one. Its worker keeps events and jobs for so long; 0 for a worker's defaults.
func newLoad(ctx context.Context, keep time.Duration) (*load, error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	l := &load{site: s}
	if l.worker, err = s.startWorker(ctx, keep); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return l, nil
}

func (l *load) close() error {
	return errors.Join(stopWorker(l.worker), l.site.close())
}

// startWorker starts a worker in a process of its own.
func (s *site) startWorker(ctx context.Context, keep time.Duration) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.CommandContext(ctx, self, "-child", s.URL, "-keep", keep.String())
	child.Stderr = os.Stderr
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	return child, nil
}

func stopWorker(child *exec.Cmd) error {
	_ = child.Process.Signal(syscall.SIGTERM) // it has ended by itself otherwise, as Wait says
	return child.Wait()
}

// tops is the best rate of the whole path of three.
func (l *load) tops(ctx context.Context) (best float64, err error) {
	for n := range 3 { // the worker starts in the first
		top, err := l.top(ctx, n+1)
		if err != nil {
			return 0, err
		}
		best = max(best, top)
	}
	return best, nil
}

// top is the rate of the whole path: events are committed at once, and all of their resources
// are in place some time later. It is the n-th measurement of this site.
func (l *load) top(ctx context.Context, n int) (float64, error) {
	start := time.Now()
	_, err := l.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', 'top/' || $1::int || '/' || i, 'created', jsonb_build_object('id', i) FROM generate_series(1, $2::int) AS i`, n, topEvents)
	if err != nil {
		return 0, fmt.Errorf("append events: %w", err)
	}
	err = l.until(ctx, fmt.Sprintf("SELECT coalesce(sum(count) >= %d AND bool_and(status = 'synced'), false) FROM casq.registry_summary WHERE kind = 'resource'", n*topEvents))
	return topEvents / time.Since(start).Seconds(), err
}

// sending is what a steady load is made of.
type sending struct {
	rate float64 // of single resources, a second
	// many commits so many at once, one a probe. Both return when they have committed.
	many  func(ctx context.Context, n int) error
	probe func(ctx context.Context, key string) error
}

// send keeps the load up until ctx is done, and returns when which probe was committed.
func (s sending) send(ctx context.Context, name string) (keys []string, committed []time.Time, err error) {
	pressed := make(chan error, 1)
	go func() { pressed <- s.press(ctx) }()
	keys, committed, err = s.probes(ctx, name)
	return keys, committed, errors.Join(err, <-pressed)
}

// probes commits probes until ctx is done.
func (s sending) probes(ctx context.Context, name string) (keys []string, committed []time.Time, err error) {
	next := time.NewTicker(probeEvery)
	defer next.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return keys, committed, nil
		case <-next.C:
		}
		key := fmt.Sprintf("%s/%d", name, i)
		err := s.probe(ctx, key)
		switch {
		case ctx.Err() != nil: // it may be committed or not
		case err != nil:
			return nil, nil, fmt.Errorf("commit a probe: %w", err)
		default:
			keys, committed = append(keys, key), append(committed, time.Now())
		}
	}
}

// press commits what is due since the last time.
func (s sending) press(ctx context.Context) error {
	next := time.NewTicker(loadEvery)
	defer next.Stop()
	for sent, began := 0, time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		due := int(s.rate*time.Since(began).Seconds()) - sent
		if due <= 0 {
			continue
		}
		if err := s.many(ctx, due); err != nil && ctx.Err() == nil {
			return fmt.Errorf("keep up the load: %w", err)
		}
		sent += due
	}
}

// fetched is how many milliseconds after its commit the job of each probe was fetched to be
// worked on.
func (s *site) fetched(ctx context.Context, keys []string, committed []time.Time) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var took []float64
		err := s.DB.QueryRow(ctx, `SELECT array_agg(1000 * extract(epoch FROM j.attempted_at - p.at)::float8)
			FROM unnest($1::text[], $2::timestamptz[]) AS p (key, at)
			JOIN river.river_job AS j ON j.args ->> 'resource_id' = p.key
			WHERE j.attempted_at IS NOT NULL`, keys, committed).Scan(&took)
		if err != nil {
			return nil, fmt.Errorf("read when jobs were fetched: %w", err)
		}
		if len(took) == len(keys) {
			return took, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("of %d probes %d were fetched: %w", len(keys), len(took), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
