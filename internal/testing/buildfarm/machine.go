package buildfarm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"casq/internal/testing/buildhistory"
	"casq/internal/testing/runnerclient"
)

const (
	processes = 4 // of runners
	atOnce    = 3 // builds of each
	// callWithin is longer than a request is held.
	callWithin = 8 * time.Second
	awayFor    = 15 * time.Second // a machine that has died, at most
	stepTakes  = 300 * time.Millisecond
)

func (f *Farm) startProcess(ctx, asking context.Context, i int) error {
	rough := &runnerclient.Rough{Base: f.transport, Lost: 25, Busy: 80, Spoilt: 60}
	p := &runnerclient.Process{
		System: fmt.Sprintf("s_%d", i), Coordinators: f.Coordinators, HTTP: &http.Client{Transport: rough, Timeout: callWithin},
		Requests: atOnce, Pause: 50 * time.Millisecond, MostPause: time.Second, Piece: 2000,
	}
	tags := [][]string{{"linux", "large"}, {"linux"}}[i%2]
	err := f.DB.QueryRow(ctx, "SELECT token FROM casq.create_runner('farm', tags => $1, run_untagged => true)", tags).Scan(&p.Token)
	if err != nil {
		return fmt.Errorf("make a runner: %w", err)
	}
	for range atOnce {
		f.machines.Go(func() { f.work(asking, p) })
	}
	return nil
}

// work asks for builds, and runs each, until ctx is done.
func (f *Farm) work(ctx context.Context, p *runnerclient.Process) {
	for ctx.Err() == nil {
		asked := time.Now()
		j, err := p.Request(ctx)
		switch {
		case errors.Is(err, runnerclient.ErrRefused):
			f.Complain("a runner was refused, which has it rest for an hour")
		case err != nil && !errors.Is(err, runnerclient.ErrUnavailable) && ctx.Err() == nil:
			f.Complain("a request for a build has a bad answer: %v", err)
		}
		if j == nil {
			sleep(ctx, stepTakes)
			continue
		}
		f.History.Picked(asked, j.ID, j.Token)
		f.mu.Lock()
		f.jobs[j.Token] = j
		f.mu.Unlock()
		f.run(ctx, j)
	}
}

// run is what a machine does with a build.
func (f *Farm) run(ctx context.Context, j *runnerclient.Job) {
	if f.tell(ctx, j, false, j.Begin) != nil {
		return
	}
	for range rand.IntN(5) {
		fmt.Fprintf(j, "build %d: %s\n", j.ID, bytes.Repeat([]byte("."), rand.IntN(5000)))
		sleep(ctx, stepTakes)
		if f.tell(ctx, j, false, j.Send) != nil {
			return
		}
		if j.Status != "running" {
			_ = f.tell(ctx, j, true, func(ctx context.Context) error { return j.Finish(ctx, "failed", "unknown_failure") })
			return
		}
	}
	if rand.IntN(3) == 0 && f.upload(ctx, j) != nil {
		return
	}
	if rand.IntN(12) == 0 {
		f.die(ctx, j)
		return
	}
	state, reason := "success", ""
	if rand.IntN(6) == 0 {
		state, reason = "failed", "script_failure"
	}
	_ = f.tell(ctx, j, true, func(ctx context.Context) error { return j.Finish(ctx, state, reason) })
}

// die has a machine say nothing more of a build, until it comes back and goes on.
func (f *Farm) die(ctx context.Context, j *runnerclient.Job) {
	f.mu.Lock()
	f.died++
	f.mu.Unlock()
	f.machines.Go(func() {
		sleep(ctx, awayFor)
		_ = f.tell(ctx, j, true, func(ctx context.Context) error { return j.Finish(ctx, "success", "") })
	})
}

func (f *Farm) upload(ctx context.Context, j *runnerclient.Job) error {
	content := bytes.Repeat(fmt.Appendf(nil, "what build %d has left, attempt %s\n", j.ID, j.Token), 1+rand.IntN(200))
	sum := sha256.Sum256(content)
	f.mu.Lock()
	f.files[hex.EncodeToString(sum[:])] = content
	f.mu.Unlock()
	// It is no part of the history: an attempt that has ended may bring none.
	err := j.Upload(ctx, "out.zip", "never", func() io.Reader { return bytes.NewReader(content) })
	if err != nil && !refused(err) && !errors.Is(err, runnerclient.ErrUnavailable) && ctx.Err() == nil {
		f.Complain("an upload of build %d has a bad answer: %v", j.ID, err)
	}
	return err
}

// tell makes a call of an attempt, and adds to the history what became of it. A machine goes
// on after a call without an answer if that was none of its end.
func (f *Farm) tell(ctx context.Context, j *runnerclient.Job, end bool, call func(context.Context) error) error {
	asked, outcome := time.Now(), buildhistory.Accepted
	j.Again = false
	err := call(ctx)
	switch {
	case refused(err):
		if j.Again { // the first time is another call, which may have been taken in
			f.History.Said(asked, j.ID, j.Token, end, buildhistory.Unknown)
		}
		outcome = buildhistory.Refused
	case err != nil:
		outcome = buildhistory.Unknown
		if !errors.Is(err, runnerclient.ErrUnavailable) && ctx.Err() == nil {
			f.Complain("a call of build %d has a bad answer: %v", j.ID, err)
		}
	}
	f.History.Said(asked, j.ID, j.Token, end, outcome)
	return err
}

// refused tells whether a coordinator does not know the attempt: it is not the newest, or
// commits were lost, the build's own among them.
func refused(err error) bool {
	return errors.Is(err, runnerclient.ErrRefused) || errors.Is(err, runnerclient.ErrNoBuild)
}
