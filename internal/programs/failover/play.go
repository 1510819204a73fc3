package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
	"casq/internal/testing/workers"

	"golang.org/x/sync/errgroup"
)

// errWrong is returned when something is not as promised; it was printed.
var errWrong = errors.New("what is promised does not hold")

type config struct {
	lease   time.Duration
	program string // that is a worker when it is told to
	out     io.Writer
	// grace is for a machine that has other work too: nobody is blamed for
	// taking over so much later than is promised; 2 s.
	grace time.Duration
	// patience is for whatever has to happen at last; a minute.
	patience time.Duration
}

// failover is one run.
type failover struct {
	cfg     config
	workers *workers.Group
	story   *story
	wrong   []error
}

// play plays all scenes, and tells.
func play(ctx context.Context, cfg config) (err error) {
	cfg.grace = cmp.Or(cfg.grace, 2*time.Second)
	cfg.patience = cmp.Or(cfg.patience, time.Minute)
	s, err := sites.Start(ctx, sites.Options{Redis: &servers.RedisOptions{}, Pool: &database.Options{Application: "failover"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := workers.Prepare(ctx, s.DB); err != nil {
		return err
	}
	f := &failover{cfg: cfg}
	f.workers = workers.New(workers.Config{
		Program: cfg.program, DB: s.DB, URL: s.URL, RedisURL: s.Redis.URL(), Lease: cfg.lease,
		Told: func(e workers.Entry) { f.story.add(e) },
	})
	defer f.workers.Close()
	f.story = newStory(cfg.out, f.workers.Name)
	f.story.begin(fmt.Sprintf("Three workers, a lease of %s. What they log, with seconds since the start:", cfg.lease))
	if err := f.scenes(ctx); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	tally, err := f.tally(ctx)
	if err != nil {
		return err
	}
	f.story.tell()
	return f.verdict(tally)
}

// scenes returns when the last one is over and nothing is written any more.
func (f *failover) scenes(ctx context.Context) error {
	stop := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.workers.Write(ctx, stop) })
	group.Go(func() error {
		defer close(stop)
		for _, scene := range []func(context.Context) error{f.startAll, f.stopHolder, f.killHolder, f.freezeHolder} {
			if err := scene(ctx); err != nil {
				return err
			}
			if err := pause.For(ctx, f.cfg.lease/20); err != nil { // of quiet work
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// tally waits until all is applied, stops the workers, and counts.
func (f *failover) tally(ctx context.Context) (workers.Tally, error) {
	patient, cancel := context.WithTimeoutCause(ctx, f.cfg.patience, errors.New("it takes too long"))
	defer cancel()
	f.story.note("nothing is written any more")
	tally, err := f.workers.Tally(patient)
	if err != nil {
		return tally, err
	}
	return tally, f.stopAll(ctx)
}

func (f *failover) verdict(t workers.Tally) error {
	if err := t.Err(); err != nil {
		f.wrong = append(f.wrong, err)
	}
	fmt.Fprintf(f.cfg.out, "\n%d events were committed and %d applied: ", t.Events, t.Recorded)
	for i, turn := range t.Turns {
		if i > 0 {
			fmt.Fprint(f.cfg.out, ", then ")
		}
		fmt.Fprintf(f.cfg.out, "%d by %s", turn.Events, turn.Worker)
	}
	if len(f.wrong) > 0 {
		fmt.Fprintf(f.cfg.out, ".\n\n%v\nfailover: FAILED\n", errors.Join(f.wrong...))
		return errWrong
	}
	fmt.Fprint(f.cfg.out, ".\nEach was applied exactly once.\n\nfailover: OK\n")
	return nil
}
