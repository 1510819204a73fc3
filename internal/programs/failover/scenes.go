package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"casq/internal/pause"
	"casq/internal/testing/workers"
)

var names = []string{"worker-1", "worker-2", "worker-3"}

// What is promised, for the time until another has committed a batch.
const (
	afterStop = time.Second
	afterKill = 2 * time.Second // and the lease
)

// startAll returns when one follows the log and each of the others was denied.
func (f *failover) startAll(ctx context.Context) error {
	began := time.Now()
	for _, name := range names {
		if err := f.workers.Start(name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := f.learnt(ctx, name, began); err != nil {
			return err
		}
	}
	_, err := f.takenOver(ctx, 0) // has committed a batch
	return err
}

func (f *failover) stopHolder(ctx context.Context) error {
	before, err := f.replace(ctx, "SIGTERM", syscall.SIGTERM, afterStop)
	if err != nil {
		return err
	}
	f.ended(ctx, before.Name)
	return f.startAgain(ctx, before.Name)
}

func (f *failover) killHolder(ctx context.Context) error {
	before, err := f.replace(ctx, "SIGKILL", syscall.SIGKILL, f.cfg.lease+afterKill)
	if err != nil {
		return err
	}
	return f.startAgain(ctx, before.Name)
}

// freezeHolder lets the holder go on when the lease is over and another has it,
// and returns when it has noticed.
func (f *failover) freezeHolder(ctx context.Context) error {
	began := time.Now()
	before, err := f.replace(ctx, "SIGSTOP", syscall.SIGSTOP, f.cfg.lease+afterKill)
	if err != nil {
		return err
	}
	if err := pause.For(ctx, f.cfg.lease+f.cfg.lease/10-time.Since(began)); err != nil {
		return err
	}
	thawed := time.Now()
	f.story.note(fmt.Sprintf("SIGCONT to %s, which was frozen for %s", before.Name, seconds(thawed.Sub(began))))
	if err := f.workers.Signal(before.Name, syscall.SIGCONT); err != nil {
		return err
	}
	return f.learnt(ctx, before.Name, thawed)
}

// replace signals the holder and returns when another has committed a batch.
func (f *failover) replace(ctx context.Context, what string, s syscall.Signal, promise time.Duration) (before workers.Holder, err error) {
	if before, err = f.workers.Holder(ctx); err != nil {
		return before, err
	}
	began := time.Now()
	f.story.note(fmt.Sprintf("%s to %s, which follows the log", what, before.Name))
	if err := f.workers.Signal(before.Name, s); err != nil {
		return before, err
	}
	name, err := f.takenOver(ctx, before.Epoch)
	if err != nil {
		return before, err
	}
	took := time.Since(began)
	f.story.note(fmt.Sprintf("%s has taken over from %s and committed its first batch %s after %s; promised: within %s",
		name, before.Name, seconds(took), what, seconds(promise)))
	if took > promise+f.cfg.grace {
		f.wrong = append(f.wrong, fmt.Errorf("after %s to %s another has committed a batch in %s; promised: within %s", what, before.Name, seconds(took), seconds(promise)))
	}
	return before, nil
}

// startAgain does what a supervisor does.
func (f *failover) startAgain(ctx context.Context, name string) error {
	f.story.note(name + " is started again")
	began := time.Now()
	if err := f.workers.Start(name); err != nil {
		return err
	}
	return f.learnt(ctx, name, began)
}

// stopAll stops who waits first, so that nobody takes over any more.
func (f *failover) stopAll(ctx context.Context) error {
	last, err := f.workers.Holder(ctx)
	if err != nil {
		return err
	}
	f.story.note("all workers are stopped, the one that follows the log last")
	waiting := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == last.Name })
	for _, some := range [][]string{waiting, {last.Name}} {
		for _, name := range some {
			if err := f.workers.Signal(name, syscall.SIGTERM); err != nil {
				return err
			}
		}
		for _, name := range some {
			f.ended(ctx, name)
		}
	}
	return nil
}

// ended waits for the end of a worker that was stopped.
func (f *failover) ended(ctx context.Context, name string) {
	ctx, cancel := f.patient(ctx)
	defer cancel()
	if err := f.workers.Ended(ctx, name); err != nil {
		f.wrong = append(f.wrong, fmt.Errorf("%s did not stop in order: %w", name, err))
	}
}

func (f *failover) learnt(ctx context.Context, name string, since time.Time) error {
	ctx, cancel := f.patient(ctx)
	defer cancel()
	return f.workers.Learnt(ctx, name, since)
}

func (f *failover) takenOver(ctx context.Context, epoch int64) (string, error) {
	ctx, cancel := f.patient(ctx)
	defer cancel()
	return f.workers.TakenOver(ctx, epoch)
}

// patient is for what has to happen within a lease, at last.
func (f *failover) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, f.cfg.lease+f.cfg.patience, errors.New("it takes too long"))
}
