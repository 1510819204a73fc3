package registry_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"
	"casq/registry"
)

// quick makes a process beat every 100 ms.
func quick(c *registry.ProcessConfig) { c.ClaimTTL = 300 * time.Millisecond }

// run runs a process until the test ends or stop is called.
func run(t *testing.T, p *registry.Process) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { p.Run(ctx) })
	stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func (b *testBundle) beat(t *testing.T, p *registry.Process) (beat int64) {
	t.Helper()
	if err := b.Pool.QueryRow(t.Context(), "SELECT beat FROM casq.processes WHERE id = $1", p.ID()).Scan(&beat); err != nil {
		t.Fatal(err)
	}
	return beat
}

// One process falls silent; the other hands its claims on, and is left alone.
func TestASilentProcessIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	silent, watcher := b.Registry(t), b.Process(t, quick)
	token := b.Create(t, 1, "x")
	claim(t, silent, token)
	run(t, watcher)
	until(t, "the end of the silent process", func() bool { return b.processes(t) == 1 })
	b.WantJobs(t, registry.Job{Token: token})
	if err := silent.Process().Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cause := context.Cause(silent.Process().Done()); !errors.Is(cause, registry.ErrProcessLost) {
		t.Errorf("the silent process learnt %v", cause)
	}
	if _, err := silent.Claim(t.Context(), token, 9); !errors.Is(err, registry.ErrProcessLost) {
		t.Errorf("it still claims: %v", err)
	}
	if watcher.Done().Err() != nil {
		t.Error("the watcher was taken for dead")
	}
}

func TestAProcessThatBeatsIsLeftAlone(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	long := func(c *registry.ProcessConfig) { c.ClaimTTL = time.Second }
	one, other := b.Process(t, long), b.Process(t, long)
	run(t, one)
	run(t, other)
	until(t, "ten beats", func() bool { return b.beat(t, one) > 10 && b.beat(t, other) > 10 })
	if one.Done().Err() != nil || other.Done().Err() != nil {
		t.Error("taken for dead")
	}
}

// hangingQueue takes long to say what a dead process had in hand.
type hangingQueue struct {
	*registrytest.Queue
	asked chan struct{}
}

func (q *hangingQueue) Orphans(ctx context.Context) ([]registry.Token, []int64, error) {
	select {
	case q.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

// Handing on can take longer than a process may stand still.
func TestASweeperGoesOnBeating(t *testing.T) {
	t.Parallel()
	b := setup(t)
	queue := &hangingQueue{b.Queue, make(chan struct{}, 1)}
	p := b.Process(t, quick, func(c *registry.ProcessConfig) { c.Queue = queue })
	stop := run(t, p)
	receive(t, "the sweep", queue.asked)
	before := b.beat(t, p)
	until(t, "five beats", func() bool { return b.beat(t, p) > before+5 })
	stop() // and does not hold up its end
}

func TestTheContextOfAClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, thief := b.Registry(t), b.Registry(t)
	token := b.Create(t, 1, "x")
	c := claim(t, r, token)
	ctx, stop := r.Process().Context(t.Context(), c)
	defer stop()
	poll := func() {
		if err := r.Process().WatchClaims(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	poll()
	if ctx.Err() != nil {
		t.Fatalf("cancelled though it has its claim: %v", context.Cause(ctx))
	}
	b.Kill(t, r.Process())
	claim(t, thief, token)
	poll()
	if !errors.Is(context.Cause(ctx), registry.ErrFenced) {
		t.Errorf("got %v", context.Cause(ctx))
	}

	other, stopOther := r.Process().Context(t.Context(), c)
	defer stopOther()
	if err := r.Process().Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the work", other.Done())
	if !errors.Is(context.Cause(other), registry.ErrProcessLost) {
		t.Errorf("got %v", context.Cause(other))
	}
	late, stopLate := r.Process().Context(t.Context(), c)
	defer stopLate()
	receive(t, "the end of work that begins late", late.Done())
}

// Whatever was not given back is handed on by the process itself.
func TestStop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	left, given := b.Create(t, 1, "left"), b.Create(t, 2, "given")
	claim(t, r, left)
	if err := r.Publish(claim(t, r, given), registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Process().Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, registry.Job{Token: left})
	if n := b.processes(t); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// Somebody deletes the row of a process that lives: none of the others knows of
// its claims.
func TestStopWithoutARow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, other := b.Registry(t), b.Process(t)
	token := b.Create(t, 1, "x")
	claim(t, r, token)
	b.Exec(t, "DELETE FROM casq.processes WHERE id = $1", r.Process().ID())
	if err := other.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Process().Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cause := context.Cause(r.Process().Done()); !errors.Is(cause, registry.ErrProcessLost) {
		t.Errorf("it has learnt %v", cause)
	}
	if err := r.Process().Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, registry.Job{Token: token})
	if got := b.Row(t, "x"); got.Claim != nil {
		t.Errorf("got %+v", got)
	}
}
