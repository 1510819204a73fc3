package registry

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// quick makes a process beat every 100 ms.
func quick(c *ProcessConfig) { c.ClaimTTL = 300 * time.Millisecond }

// run runs a process until the test ends or stop is called.
func run(t *testing.T, p *Process) (stop func()) {
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

func (b *testBundle) beat(t *testing.T, p *Process) (beat int64) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT beat FROM casq.processes WHERE id = $1", p.ID()).Scan(&beat); err != nil {
		t.Fatal(err)
	}
	return beat
}

// One process falls silent; the other hands its claims on, and is left alone.
func TestASilentProcessIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	silent, watcher := b.registry(t), b.process(t, quick)
	token := b.create(t, 1, "x")
	claim(t, silent, token)
	run(t, watcher)
	until(t, "the end of the silent process", func() bool { return b.processes(t) == 1 })
	b.wantJobs(t, Job{Token: token})
	if err := silent.process.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cause := context.Cause(silent.process.Done()); !errors.Is(cause, ErrProcessLost) {
		t.Errorf("the silent process learnt %v", cause)
	}
	if _, err := silent.Claim(t.Context(), token, 9); !errors.Is(err, ErrProcessLost) {
		t.Errorf("it still claims: %v", err)
	}
	if watcher.Done().Err() != nil {
		t.Error("the watcher was taken for dead")
	}
}

func TestAProcessThatBeatsIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long := func(c *ProcessConfig) { c.ClaimTTL = time.Second }
	one, other := b.process(t, long), b.process(t, long)
	run(t, one)
	run(t, other)
	until(t, "ten beats", func() bool { return b.beat(t, one) > 10 && b.beat(t, other) > 10 })
	if one.Done().Err() != nil || other.Done().Err() != nil {
		t.Error("taken for dead")
	}
}

// hangingQueue takes long to say what a dead process had in hand.
type hangingQueue struct {
	*tableQueue
	asked chan struct{}
}

func (q *hangingQueue) Orphans(ctx context.Context) ([]Token, []int64, error) {
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
	queue := &hangingQueue{b.queue, make(chan struct{}, 1)}
	p := b.process(t, quick, func(c *ProcessConfig) { c.Queue = queue })
	stop := run(t, p)
	receive(t, "the sweep", queue.asked)
	before := b.beat(t, p)
	until(t, "five beats", func() bool { return b.beat(t, p) > before+5 })
	stop() // and does not hold up its end
}

func TestTheContextOfAClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, thief := b.registry(t), b.registry(t)
	token := b.create(t, 1, "x")
	c := claim(t, r, token)
	ctx, stop := r.process.Context(t.Context(), c)
	defer stop()
	look := func() {
		if err := r.process.watchClaims(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	look()
	if ctx.Err() != nil {
		t.Fatalf("cancelled though it has its claim: %v", context.Cause(ctx))
	}
	b.kill(t, r)
	claim(t, thief, token)
	look()
	if !errors.Is(context.Cause(ctx), ErrFenced) {
		t.Errorf("got %v", context.Cause(ctx))
	}

	other, stopOther := r.process.Context(t.Context(), c)
	defer stopOther()
	if err := r.process.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the work", other.Done())
	if !errors.Is(context.Cause(other), ErrProcessLost) {
		t.Errorf("got %v", context.Cause(other))
	}
	late, stopLate := r.process.Context(t.Context(), c)
	defer stopLate()
	receive(t, "the end of work that begins late", late.Done())
}

// Whatever was not given back is handed on by the process itself.
func TestStop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	left, given := b.create(t, 1, "left"), b.create(t, 2, "given")
	claim(t, r, left)
	if err := r.Publish(claim(t, r, given), Result{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.process.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantJobs(t, Job{Token: left})
	if n := b.processes(t); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// Somebody deletes the row of a process that lives: none of the others knows of
// its claims.
func TestStopWithoutARow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, other := b.registry(t), b.process(t)
	token := b.create(t, 1, "x")
	claim(t, r, token)
	b.exec(t, "DELETE FROM casq.processes WHERE id = $1", r.process.ID())
	if err := other.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.process.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cause := context.Cause(r.process.Done()); !errors.Is(cause, ErrProcessLost) {
		t.Errorf("it has learnt %v", cause)
	}
	if err := r.process.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantJobs(t, Job{Token: token})
	if got := b.row(t, "x"); got.Claim != nil {
		t.Errorf("got %+v", got)
	}
}
