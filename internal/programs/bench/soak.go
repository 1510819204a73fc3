package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/pause"
	"casq/internal/programs/bench/measure"
	"casq/internal/retention"
)

const (
	soakResources = 50_000
	soakKeep      = time.Minute // events and jobs
	soakGrown     = 4           // minutes after which tables grow no more
	soakShare     = 0.7         // of the top rate
)

// soak: what the first minute and the last have, of as many as are asked for, in which updates
// come at 70 % of the rate at which this machine can bring resources in place: that rate,
// latency, memory of the worker, and tables, of which the reference is the fourth minute.
func soak(minutes int) func(context.Context, *measure.Bench) ([]measure.Result, error) {
	return func(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
		if minutes <= soakGrown {
			return nil, fmt.Errorf("soak for %d minutes: tables grow until the %dth; more than those", minutes, soakGrown)
		}
		l, err := newLoad(ctx, soakKeep)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		m.Say("the top rate")
		top, err := l.tops(ctx)
		if err != nil {
			return nil, err
		}
		all, err := l.soak(ctx, m, soakShare*top, minutes)
		if err != nil {
			return nil, err
		}
		return soaked(all, fmt.Sprintf("%.0f updates/s of %d resources, %.0f %% of the top rate; events and jobs kept for %s", soakShare*top, soakResources, 100*soakShare, soakKeep)), nil
	}
}

// soakMinute is what is known of one.
type soakMinute struct {
	rate   float64   // jobs completed a second
	took   []float64 // milliseconds from a commit to the fetch of its job
	memory float64   // MiB of the worker
	sizes  []float64 // MiB of soakSizes
}

// soakSizes are relations with all that belongs to them.
var soakSizes = []string{"casq.events", "casq.ticks", "casq.registry", "river.river_job"}

// soak keeps the load up, and notes each minute.
func (l *load) soak(ctx context.Context, m *measure.Bench, rate float64, minutes int) (all []soakMinute, err error) {
	pressing, halt := context.WithCancel(ctx)
	s := sending{rate, l.updateSome(), l.appendProbe}
	pressed := make(chan error, 1)
	go func() { pressed <- s.press(pressing) }()
	defer func() { halt(); err = errors.Join(err, <-pressed) }()
	for n := range minutes {
		m.Say("minute %d of %d, %.0f updates/s", n+1, minutes, rate)
		minute, err := l.soakMinute(ctx, s, fmt.Sprintf("probe/soak/%d", n))
		if err != nil {
			return nil, fmt.Errorf("minute %d: %w", n+1, err)
		}
		all = append(all, minute)
	}
	return all, nil
}

// soakMinute probes in the second half of a minute.
func (l *load) soakMinute(ctx context.Context, s sending, name string) (minute soakMinute, err error) {
	began := time.Now()
	// What is old goes at once, and not with the next round of a worker.
	if err := retention.Round(ctx, retention.Config{Home: l.DB, Logger: l.log, Events: soakKeep}); err != nil {
		return minute, err
	}
	if err := pause.For(ctx, time.Minute/2-time.Since(began)); err != nil {
		return minute, err
	}
	probing, cancel := context.WithTimeout(ctx, time.Minute/2)
	defer cancel()
	keys, committed, err := s.probes(probing, name)
	if err != nil {
		return minute, err
	}
	if minute.took, err = l.fetched(ctx, keys, committed); err != nil {
		return minute, err
	}
	if minute.memory, err = resident(l.worker.Process.Pid, "VmRSS"); err != nil {
		return minute, err
	}
	err = l.DB.QueryRow(ctx, `SELECT (SELECT count(*) / 30.0 FROM river.river_job WHERE state = 'completed' AND finalized_at > now() - interval '30 s')::float8,
		(SELECT array_agg(pg_total_relation_size(name::regclass) / 1048576.0 ORDER BY n) FROM unnest($1::text[]) WITH ORDINALITY AS u (name, n))::float8[]`,
		soakSizes).Scan(&minute.rate, &minute.sizes)
	return minute, err
}

// updateSome returns what commits updates of the same resources again and again.
func (l *load) updateSome() func(context.Context, int) error {
	done := 0
	return func(ctx context.Context, n int) error {
		_, err := l.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
			SELECT 'resource', 'soak/' || i % $1::int, 'updated', jsonb_build_object('id', i) FROM generate_series($2::int, $3::int) AS i`,
			soakResources, done+1, done+n)
		done += n
		return err
	}
}

// soaked compares the last minute with the first one, and tables with how they were when
// something was deleted for the first time.
func soaked(all []soakMinute, note string) []measure.Result {
	first, last := all[0], all[len(all)-1]
	results := []measure.Result{
		{Bench: "soak/rate", Ours: last.rate, Reference: first.rate, Unit: "jobs/s"},
		{Bench: "soak/p50", Ours: measure.Percentile(last.took, 50), Reference: measure.Percentile(first.took, 50), Unit: "ms"},
		{Bench: "soak/p99", Ours: measure.Percentile(last.took, 99), Reference: measure.Percentile(first.took, 99), Unit: "ms"},
		{Bench: "soak/memory", Ours: last.memory, Reference: first.memory, Unit: "MiB"},
	}
	for i := range results {
		results[i].Note = fmt.Sprintf("minute %d; reference: the first; %s", len(all), note)
	}
	for i, name := range soakSizes {
		results = append(results, measure.Result{
			Bench: "soak/" + name, Ours: last.sizes[i], Reference: all[soakGrown-1].sizes[i], Unit: "MiB",
			Note: fmt.Sprintf("minute %d; reference: minute %d, since when as much is deleted as comes; %s", len(all), soakGrown, note),
		})
	}
	return results
}
