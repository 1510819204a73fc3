package cursor

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/faultproxy"
	"casq/internal/testing/logged"
	"casq/internal/testing/long"
	"casq/internal/testing/testproc"
)

// An epoch that ends between reading and applying: nothing of the batch takes
// effect, and the next turn applies it under a new one.
func TestBatchOfAnEndedEpochIsRolledBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "b")
	log, stop := &logged.Messages{}, newStop("batch:read")
	cfg := b.config(t)
	cfg.Hook, cfg.Logger = stop.hook, slog.New(log)
	run(t, cfg)
	stop.await(t)
	b.exec(t, "UPDATE casq.cursors SET epoch = epoch + 1")
	b.wantEffects(t)
	close(stop.resume)
	b.untilEffects(t, "a", "b")
	if n := log.Count("fenced"); n != 1 {
		t.Errorf("fenced %d times, want once", n)
	}
}

// A holder that is stopped where it holds no locks, and whose session ends.
// Another takes over and goes on; the first is no harm when it wakes.
func TestHolderThatWakesLateIsFenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "b")
	stop := newStop("batch:read")
	first := b.config(t)
	first.Hook = stop.hook
	run(t, first)
	stop.await(t)
	b.exec(t, "SELECT pg_terminate_backend(backend_pid) FROM casq.cursors")
	second := run(t, b.config(t))
	b.untilEffects(t, "a", "b")
	close(stop.resume)
	b.write(t, "c")
	b.untilEffects(t, "a", "b", "c")
	if err := second.stop(); err != nil {
		t.Error(err)
	}
	b.write(t, "d")
	b.untilEffects(t, "a", "b", "c", "d")
}

// Each part of the position is compared, not only the epoch.
func TestBatchBeginsWhereThePositionIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "b", "c")
	for _, moved := range []string{
		"system_identifier = system_identifier + 1",
		"timeline = timeline + 1", "timeline_id = gen_random_uuid()", "tick = tick - 1", "nonce = gen_random_uuid()",
		"to_tick = to_tick + 1", "to_nonce = gen_random_uuid()", "page = page + 1",
	} {
		t.Run(moved, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			cfg := b.config(t)
			cfg.Name, cfg.PageSize = moved, 1
			h, err := New(cfg).hold(ctx, nil, anyEpoch)
			if err != nil {
				t.Fatal(err)
			}
			defer h.release(ctx, nil)
			if _, err := h.step(ctx); err != nil || !h.stored.InStep() {
				t.Fatalf("first page: at %v, %v", h.stored, err)
			}
			b.exec(t, "UPDATE casq.cursors SET "+moved+" WHERE name = $1", moved)
			if _, err := h.step(ctx); !errors.Is(err, ErrFenced) {
				t.Errorf("second page: %v, want it fenced", err)
			}
		})
	}
}

// The commit took place, and the holder was not told. Twice, so that one answer
// is lost within a step that is read in pages.
func TestLostAnswerAppliesOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "b", "c", "d", "e")
	network, log := faultproxy.New(), &logged.Messages{}
	cfg := b.config(t)
	cfg.Home, cfg.PageSize, cfg.Logger = network.Pool(t, b.url), 2, slog.New(log)
	points := make(chan string, 100)
	cfg.Hook = func(point string) {
		points <- point
		if len(points) <= 6 { // three points a batch
			network.LoseAnswer("commit")
		}
	}
	run(t, cfg)
	b.untilEffects(t, "a", "b", "c", "d", "e")
	<-network.Lost()
	if n := log.Count("batch failed"); n != 2 {
		t.Errorf("%d batches failed, want 2", n)
	}
	b.write(t, "f")
	b.untilEffects(t, "a", "b", "c", "d", "e", "f")
}

// Two holders that start at once on an empty database, each sure that it is the
// only one: one position, and the later epoch wins.
func TestTwoFirstStartsAgree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	ctx := t.Context()
	var holders [2]*holder
	errs := make(chan error, len(holders))
	for i := range holders {
		c := New(b.config(t))
		go func() {
			var err error
			for holders[i] == nil && err == nil {
				holders[i], err = c.hold(ctx, nil, anyEpoch)
			}
			errs <- err
		}()
	}
	for range holders {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range holders {
		defer h.release(ctx, nil)
	}
	if holders[0].epoch > holders[1].epoch {
		holders[0], holders[1] = holders[1], holders[0]
	}
	if holders[0].stored != holders[1].stored || holders[0].epoch == holders[1].epoch {
		t.Fatalf("epochs %d at %v and %d at %v", holders[0].epoch, holders[0].stored, holders[1].epoch, holders[1].stored)
	}
	if err := holders[0].follow(ctx); !errors.Is(err, ErrFenced) {
		t.Errorf("the earlier epoch: %v, want it fenced", err)
	}
	if _, err := holders[1].step(ctx); err != nil {
		t.Errorf("the later epoch: %v", err)
	}
	b.wantEffects(t, "a")
}

func TestManyCursorsStartAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		run(t, b.config(t))
	}
	b.write(t, "a", "b")
	b.write(t, "c")
	b.untilEffects(t, "a", "b", "c")
}

// idle is how long the frozen child may hold its locks.
const idle = time.Second

// frozenChild is a holder that is frozen inside its first batch.
func frozenChild(args []string) error {
	ctx := context.Background()
	pool, err := database.Open(ctx, args[0], database.Options{IdleInTransaction: idle, SearchPath: "public"})
	if err != nil {
		return err
	}
	defer pool.Close()
	frozen := false
	return New(Config{
		Name: "test", Source: pool, Home: pool, Consumer: writer{}, Logger: slog.New(slog.DiscardHandler),
		Interval: time.Millisecond, Wait: 20 * time.Millisecond,
		Hook: func(point string) {
			switch {
			case point == "batch:applied" && !frozen:
				frozen = true
				testproc.Freeze("frozen")
				testproc.Say("thawed")
			case point == "batch:applied":
				testproc.Say("applied")
			}
		},
	}).Run(ctx)
}

// A process that is frozen with effects and position in an open transaction
// holds the log for the idle time-out and no longer. What it does when it is
// thawed has no effect.
func TestFrozenInATransaction(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.write(t, "a", "b")
	child := testproc.Start(t, "frozen", b.url)
	child.AwaitFrozen("frozen")
	began := time.Now()
	b.write(t, "c")
	other := run(t, b.config(t))
	b.untilEffects(t, "a", "b", "c")
	t.Logf("the log went on %v after the holder was frozen", time.Since(began))
	child.Thaw()
	child.Await("thawed")
	b.write(t, "d")
	b.untilEffects(t, "a", "b", "c", "d")
	if err := other.stop(); err != nil {
		t.Error(err)
	}
	// The child is alive, and takes over in its turn.
	b.write(t, "e")
	child.Await("applied")
	b.untilEffects(t, "a", "b", "c", "d", "e")
}
