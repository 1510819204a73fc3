package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"casq/cmd/internal/cli"
	"casq/internal/pause"

	"github.com/spf13/cobra"
)

const (
	// pollInterval is how often what is waited for is polled.
	pollInterval = 200 * time.Millisecond
	// hindranceInterval is how often it is asked what stands in its way.
	hindranceInterval = 2 * time.Second
	// silentAfter is when a worker is worth a word: its sign of life comes each 10 s
	// by default.
	silentAfter = time.Minute
)

// errTimeout says that what was waited for did not come in --timeout.
var errTimeout = errors.New("timed out")

// patience is whether, and for how long, a command waits for the workers.
type patience struct {
	wait  bool
	limit time.Duration // 0: for ever
}

// add adds the flags for it to a command.
func (p *patience) add(cmd *cobra.Command, usage string) {
	cmd.Flags().BoolVar(&p.wait, "wait", false, usage)
	cli.DurationVar(cmd, &p.limit, "timeout", "with --wait: give up after this time, with exit code 1; the work itself goes on")
}

// check refuses what makes no sense.
func (p *patience) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("timeout") && (!p.wait || p.limit <= 0) {
		return cli.Usage(cmd, "--timeout is for --wait, and is a time such as 10m")
	}
	return nil
}

// start is the beginning of a wait for jobs of some queues, or without queues for the
// workers themselves. The context is that of the wait.
func (p *patience) start(ctx context.Context, h *home, progress *cli.Progress, queues ...string) (context.Context, *waiting) {
	w := &waiting{home: h, progress: progress, queues: queues, next: time.Now().Add(pollInterval)}
	if p.limit > 0 {
		ctx, w.stop = context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("%w after %s", errTimeout, p.limit))
	} else {
		ctx, w.stop = context.WithCancel(ctx)
	}
	return ctx, w
}

// waiting is a wait. It says what stands in its way: a command that only waits
// seems to work.
type waiting struct {
	*home
	progress *cli.Progress
	queues   []string
	next     time.Time // when it is asked what stands in the way
	hindered string    // what does
	stop     context.CancelFunc
}

// pause waits until the next poll, which is the later the longer a poll takes.
func (w *waiting) pause(ctx context.Context, took time.Duration) error {
	if !time.Now().Before(w.next) {
		hindered, err := w.hindrance(ctx)
		if err != nil {
			return err
		}
		if hindered != w.hindered && hindered != "" {
			w.progress.Note(hindered)
		}
		w.hindered, w.next = hindered, time.Now().Add(hindranceInterval)
	}
	return pause.For(ctx, max(pollInterval, 5*took))
}

// failed explains the error that has ended the wait.
func (w *waiting) failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		err = cause
	}
	if w.hindered != "" {
		return fmt.Errorf("%s: %w", w.hindered, err)
	}
	return err
}

// hindrance is what keeps jobs of the queues from being worked on, in words.
func (w *waiting) hindrance(ctx context.Context) (string, error) {
	var alive bool
	var silent float64
	var paused, known []string
	if err := w.QueryRow(ctx, statusSQL.Hindrance, w.queues).Scan(&alive, &silent, &paused, &known); err != nil {
		return "", fmt.Errorf("find workers: %w", err)
	}
	silence := time.Duration(silent * float64(time.Second)).Round(time.Second)
	unknown := slices.DeleteFunc(slices.Clone(w.queues), func(q string) bool { return slices.Contains(known, q) })
	switch {
	case !alive:
		return "no worker is running (worker run)", nil
	case silence > silentAfter:
		return fmt.Sprintf("no worker has shown a sign of life for %s", silence), nil
	case len(paused) > 0:
		return fmt.Sprintf("paused: queue %s (enqueue queue resume)", cli.Names(paused)), nil
	case len(unknown) > 0:
		return fmt.Sprintf("no worker has ever served queue %s: no worker has a target for it", cli.Names(unknown)), nil
	}
	return "", nil
}
