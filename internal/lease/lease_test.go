package lease

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"casq/internal/testing/logged"
	"casq/internal/testing/long"
	"casq/internal/testing/testredis"
)

const (
	lostMessage = "lease lost, another process may take over"
	lateMessage = "lease renewed late"
)

func TestOneObtains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.leaser(time.Minute), b.leaser(time.Minute)
	held := obtain(t, one, slog.DiscardHandler)
	wantDenied(t, two, one)
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	obtain(t, two, slog.DiscardHandler)
	wantDenied(t, one, two)
	// Released once more: it is another's by now.
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
	wantDenied(t, one, two)
}

// Long after the time of the lease is over, its holder still has it.
func TestLeaseIsRenewed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	one, two := b.leaser(short), b.leaser(short)
	held := obtain(t, one, log)
	began := time.Now()
	until(t, "two lengths of the lease are over", func() bool {
		if log.Count(lostMessage)+log.Count(lateMessage) == 0 {
			wantDenied(t, two, one)
		}
		return time.Since(began) > 2*short
	})
	select {
	case <-held.Lost():
		t.Error("the lease was lost")
	default:
	}
}

// Nobody renews: it ends.
func TestLeaseEnds(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	if err := b.client.Set(t.Context(), key(name), "dead", short).Err(); err != nil {
		t.Fatal(err)
	}
	l := b.leaser(short)
	until(t, "the lease of the dead ends", func() bool {
		held, err := l.Obtain(t.Context(), name, slog.New(slog.DiscardHandler))
		return err == nil && held.Release(t.Context()) == nil
	})
}

func TestLeaseIsLostToAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	held := obtain(t, b.leaser(short), log)
	if err := b.client.Set(t.Context(), key(name), "another", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Lost():
	case <-time.After(patience):
		t.Fatal("the lease is another's, and was not lost")
	}
	if n := log.Count(lostMessage); n != 1 {
		t.Errorf("said %d times that it is lost, want once", n)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if got := b.holder(t); got != "another" {
		t.Errorf("the lease is of %q: what was given back was another's", got)
	}
}

// Redis has forgotten the scripts.
func TestScriptsAreSentAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l := b.leaser(time.Minute)
	for range 2 {
		if err := b.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		held := obtain(t, l, slog.DiscardHandler)
		if err := b.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.holder(t); got != "" {
			t.Fatalf("%s holds what was given back", got)
		}
	}
}

// Redis forgets the lease: its holder takes it again, late.
func TestForgottenLeaseIsTakenAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	l := b.leaser(short)
	held := obtain(t, l, log)
	if err := b.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is taken again", func() bool { return b.holder(t) == l.ID() })
	until(t, "it was said", func() bool { return log.Count(lateMessage) > 0 })
	select {
	case <-held.Lost():
		t.Error("the lease was lost to nobody")
	default:
	}
}

// While Redis is away nothing is known, and nothing is lost.
func TestRedisIsKilled(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	one, two := b.leaser(short), b.leaser(short)
	held := obtain(t, one, log)
	if err := b.server.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := two.Obtain(t.Context(), name, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrUnknown) || errors.Is(err, ErrHeld) {
		t.Errorf("obtained with %v, want it unknown", err)
	}
	until(t, "the time of the lease is over", func() bool { return log.Count(lostMessage) > 0 })
	select {
	case <-held.Lost():
		t.Error("the lease was lost to nobody")
	default:
	}
	testredis.Restart(t, b.server)
	until(t, "the lease is renewed", func() bool { return log.Count(lateMessage) > 0 })
	wantDenied(t, two, one)
	if n := log.Count(lostMessage); n != 1 {
		t.Errorf("said %d times that it is lost, want once", n)
	}
}

// An answer that comes when the lease has ended is no yes.
func TestFrozenRedisGivesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.server.Freeze(); err != nil {
		t.Fatal(err)
	}
	_, err := b.leaser(short).Obtain(t.Context(), name, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("obtained with %v, want it unknown", err)
	}
	if err := b.server.Thaw(); err != nil {
		t.Fatal(err)
	}
}

func TestAssumedLease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.leaser(short), b.leaser(short)
	log := &logged.Messages{}
	held := one.Assume(name, slog.New(log))
	defer func() { _ = held.Release(context.Background()) }()
	until(t, "Redis knows it", func() bool { return b.holder(t) == one.ID() })
	if n := log.Count(lateMessage); n > 0 {
		t.Error("the first answer was late")
	}
	other := two.Assume(name, slog.New(slog.DiscardHandler))
	defer func() { _ = other.Release(context.Background()) }()
	select {
	case <-other.Lost():
	case <-time.After(patience):
		t.Error("two have assumed one lease")
	}
}

func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	l := New(Config{})
	if _, err := l.Obtain(t.Context(), name, nil); !errors.Is(err, ErrNoRedis) || !errors.Is(err, ErrUnknown) {
		t.Errorf("obtained with %v, want ErrNoRedis", err)
	}
	held := l.Assume(name, nil)
	if held.Lost() != nil {
		t.Error("it can be lost")
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A lease without an end would keep everybody out for ever.
func TestLeaseWithoutAnEndIsGivenOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.leaser(time.Minute), b.leaser(time.Minute)
	obtain(t, one, slog.DiscardHandler)
	if err := b.client.Persist(t.Context(), key(name)).Err(); err != nil {
		t.Fatal(err)
	}
	wantDenied(t, two, one)
	if left := b.client.PTTL(t.Context(), key(name)).Val(); left <= 0 {
		t.Errorf("the lease has %s left, want an end", left)
	}
}

func TestDenialsAreToldOnce(t *testing.T) {
	t.Parallel()
	log := &logged.Messages{}
	var d Denials
	for _, holder := range []string{"a", "a", "b", "b"} {
		d.Tell(t.Context(), slog.New(log), holder, time.Second)
	}
	d.at = d.at.Add(-denialEvery)
	d.Tell(t.Context(), slog.New(log), "b", time.Second)
	want := []slog.Level{slog.LevelInfo, slog.LevelDebug, slog.LevelInfo, slog.LevelDebug, slog.LevelInfo}
	messages, levels := log.All()
	if !slices.Equal(levels, want) || log.Count("cannot obtain lease, another process holds it") != len(want) {
		t.Errorf("told at %v as %q, want %v", levels, messages, want)
	}
}

func TestIDsDiffer(t *testing.T) {
	t.Parallel()
	if one, two := New(Config{}).ID(), New(Config{}).ID(); one == two {
		t.Errorf("two leasers are called %s", one)
	}
}
