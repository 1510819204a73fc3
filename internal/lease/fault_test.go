package lease

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"casq/internal/testing/faultproxy"
	"casq/internal/testing/logged"
)

// Each step is lost on its way to Redis, or done with its answer lost. In no case
// do two believe that they have the lease, and in no case is it lost for good.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		step     string
		persists bool
		hash     func() string
		play     func(f *faulty, t *testing.T)
	}{
		{"take", false, takeScript.Hash, (*faulty).take},
		{"take", true, takeScript.Hash, (*faulty).take},
		{"renew", false, takeScript.Hash, (*faulty).renew},
		{"renew", true, takeScript.Hash, (*faulty).renew},
		{"release", false, releaseScript.Hash, (*faulty).release},
		{"release", true, releaseScript.Hash, (*faulty).release},
	} {
		what := "/failed"
		if test.persists {
			what = "/failed, but persisted"
		}
		t.Run(test.step+what, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			f := &faulty{testBundle: b, network: faultproxy.New(), log: &logged.Messages{}, persists: test.persists}
			f.one = New(Config{Client: b.behind(t, f.network), TTL: short})
			f.two = b.leaser(short)
			f.next = func() {
				if test.persists {
					f.network.LoseAnswerTo(test.hash())
				} else {
					f.network.Lose(test.hash())
				}
			}
			// Redis knows the scripts: it is not the first use that fails.
			for _, l := range []*Leaser{f.one, f.two} {
				if err := obtain(t, l, slog.DiscardHandler).Release(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			test.play(f, t)
		})
	}
}

type faulty struct {
	*testBundle
	network  *faultproxy.Network
	log      *logged.Messages
	one, two *Leaser
	persists bool
	next     func() // what is sent next is lost
}

// wantHolder checks what Redis says after the fault.
func (f *faulty) wantHolder(t *testing.T, holds bool) {
	t.Helper()
	if got := f.holder(t); (got == f.one.ID()) != holds {
		t.Errorf("Redis says that %q holds the lease; %s should: %v", got, f.one.ID(), holds)
	}
}

func (f *faulty) take(t *testing.T) {
	f.next()
	_, err := f.one.Obtain(t.Context(), name, slog.New(f.log))
	if !errors.Is(err, ErrUnknown) {
		t.Fatalf("obtained with %v, want it unknown", err)
	}
	<-f.network.Lost()
	f.wantHolder(t, f.persists)
	// Who has it without knowing gets it when he asks again.
	obtain(t, f.one, f.log)
	f.wantHolder(t, true)
	wantDenied(t, f.two, f.one)
}

func (f *faulty) renew(t *testing.T) {
	held := obtain(t, f.one, f.log)
	f.next()
	select {
	case <-f.network.Lost():
	case <-time.After(patience):
		t.Fatal("it was not renewed")
	}
	f.wantHolder(t, true)
	// The next attempt is made before the lease ends.
	until(t, "it is renewed", func() bool {
		return f.client.PTTL(t.Context(), key(name)).Val() > short*9/10
	})
	wantDenied(t, f.two, f.one)
	select {
	case <-held.Lost():
		t.Error("the lease was lost to nobody")
	default:
	}
}

func (f *faulty) release(t *testing.T) {
	held := obtain(t, f.one, f.log)
	f.next()
	if err := held.Release(t.Context()); err == nil {
		t.Error("released without an answer")
	}
	<-f.network.Lost()
	f.wantHolder(t, !f.persists)
	until(t, "another obtains it", func() bool {
		other, err := f.two.Obtain(t.Context(), name, slog.New(slog.DiscardHandler))
		return err == nil && other.Release(t.Context()) == nil
	})
}
