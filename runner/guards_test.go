package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"casq/eventlog"

	"github.com/google/uuid"
)

var anyone = class{untagged: true}

// A poll that found nothing says nothing of what came while it polled.
func TestALookDuringNewsIsNotNoted(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(n *news, at update){
		"nothing":          func(*news, update) {},
		"a build":          func(n *news, _ update) { n.of(lane{}, nil) },
		"a tick with news": func(n *news, at update) { n.turn(at, false) },
	} {
		n := newNews()
		at := update{1, uuid.New()}
		n.turn(at, true)
		newest, count := n.read()
		meanwhile(n, at)
		n.note(anyone, newest, count)
		if _, noted := n.noted(anyone); noted != (name == "nothing") {
			t.Errorf("%s came meanwhile: noted %t", name, noted)
		}
	}
}

// In the middle of a step that is read in pages nobody may be told its tick, nor that of the
// step before: part of what it shows is told.
func TestNobodyIsToldATickWithinItsStep(t *testing.T) {
	t.Parallel()
	c := New(nil, Options{Logger: slog.New(slog.DiscardHandler)})
	before := eventlog.Position{Tick: 5, Nonce: uuid.New()}
	f := &follower{Coordinator: c, at: &before}
	c.news.turn(update{before.Tick, before.Nonce}, false)
	within := before
	within.ToTick, within.ToNonce = 7, uuid.New()
	for at, want := range map[eventlog.Position]update{
		within:                           {},
		{Tick: 7, Nonce: within.ToNonce}: {7, within.ToNonce},
	} {
		f.at = &within
		if err := f.take(t.Context(), nil, at); err != nil {
			t.Fatal(err)
		}
		if newest, _ := c.news.read(); newest != want {
			t.Errorf("at %v: %v is told, want %v", at, newest, want)
		}
	}
}

// A process that has shown two runners, and never two requests at once, has requests held
// for a short time.
func TestWhoIsHeldForLong(t *testing.T) {
	t.Parallel()
	s := newSiblings()
	ask := func(name string, runner int64) bool {
		long, end := s.begin(name, runner)
		end()
		return long
	}
	for i, want := range []bool{false, false, true, true} {
		if long := ask("alone", 1); long != want {
			t.Errorf("request %d of the only runner: long %t", i, long)
		}
	}
	if ask("alone", 2) || ask("alone", 1) {
		t.Error("of two that ask in turn one is held for long")
	}
	_, end := s.begin("many", 1)
	if long, second := s.begin("many", 2); !long {
		t.Error("of two that ask at once one is not held for long")
	} else {
		second()
	}
	end()
	if !ask("many", 3) {
		t.Error("a process that asked for two at once a moment ago is not believed to")
	}
	for i := range mostSystems {
		ask(fmt.Sprint("process ", i), 1)
	}
	if long := ask("one more", 1); long || len(s.systems) > mostSystems {
		t.Errorf("of %d processes one more is held for long: %t", len(s.systems), long)
	}
}

// A token that calls too often has to wait, and others do not.
func TestCallsOfOneTokenAreLimited(t *testing.T) {
	t.Parallel()
	c := New(nil, Options{Logger: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v4/jobs/request", nil)
	identify := func(_ context.Context, token string) (identity, error) {
		return identity{hash: [32]byte(hashOf(token))}, nil
	}
	calls := 0
	for ; calls <= 2*callsAtOnce; calls++ {
		if _, err := c.admit(r, "one", identify); errors.Is(err, errTooMany) {
			break
		}
	}
	if calls < callsAtOnce || calls > 2*callsAtOnce {
		t.Errorf("%d calls were let in at once, want some %d", calls, callsAtOnce)
	}
	if _, err := c.admit(r, "other", identify); err != nil {
		t.Errorf("another token at that address: %v", err)
	}
}
