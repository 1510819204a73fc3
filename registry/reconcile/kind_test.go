package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"casq/eventlog"
	"casq/registry"
)

// A kind is not dropped over the head of its table, or of the log.
func TestDropKindRefused(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false, nil); !errors.Is(err, registry.ErrKind) || !strings.Contains(err.Error(), "casq.untrack(kind => 'resource') first") {
		t.Errorf("tracked: %v", err)
	}
	b.tick(t)
	b.follow(t)
	b.put(t, "x", 1)
	b.Exec(t, "SELECT casq.untrack(kind => $1)", kind)
	if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false, nil); !errors.Is(err, registry.ErrKind) || !strings.Contains(err.Error(), "1 events of kind 'resource' are still to be read") {
		t.Errorf("behind: %v", err)
	}
	b.tick(t)
	b.follow(t)
	if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false, nil); err != nil {
		t.Errorf("read: %v", err)
	}
}

// A page of the source that was read before its kind was dropped brings nothing back.
func TestDropKindUnderAPage(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "x", 1)
	b.tick(t)
	b.follow(t)
	id := b.ask(t, registry.Request{})
	var dropped sync.Once
	drop := func() {
		dropped.Do(func() {
			b.Exec(t, "SELECT casq.untrack(kind => $1)", kind)
			if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false, nil); err != nil {
				t.Error(err)
			}
		})
	}
	b.round(t, b.reconciler(t, func(c *Config) {
		c.Hook = func(point string) {
			if point == "reconcile:read" {
				drop()
			}
		}
	}))
	if got := b.Text(t, fmt.Sprintf("SELECT concat_ws(' ', count(*), (SELECT count(*) FROM casq.kinds), (SELECT bool_and(finished_at IS NOT NULL) FROM casq.reconcile_runs WHERE id = %d)) FROM casq.registry", id)); got != "0 0 t" {
		t.Errorf("got %s", got)
	}
}

// A page that was read before its kind was dropped, and would add what was deleted
// since, adds nothing to the kind that was defined again meanwhile: no row tells any more
// that the resource is gone.
func TestDropKindAndDefineItAgainUnderAPage(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "x", 1)
	b.tick(t)
	b.follow(t)
	b.Exec(t, "DELETE FROM casq.registry") // which the run is to find
	id := b.ask(t, registry.Request{})
	var again sync.Once
	r := b.reconciler(t, func(c *Config) {
		c.Hook = func(point string) {
			if point != "reconcile:compared" {
				return
			}
			again.Do(func() {
				b.Exec(t, "DELETE FROM resources")
				b.tick(t)
				b.follow(t)
				b.Exec(t, "SELECT casq.untrack(kind => $1)", kind)
				if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false, nil); err != nil {
					t.Error(err)
				}
				simple(t, b.Pool, trackResources)
			})
		}
	})
	const state = "SELECT concat_ws(' ', count(*), (SELECT bool_and(finished_at IS NOT NULL) FROM casq.reconcile_runs WHERE id = $1)) FROM casq.registry"
	b.round(t, r)
	if got := b.Text(t, state, id); got != "0 f" {
		t.Errorf("with the old page: got %s", got)
	}
	b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
	b.round(t, r)
	if got := b.Text(t, state, id); got != "0 t" {
		t.Errorf("with a new one: got %s", got)
	}
}

// whereItWalked is a target that keeps the prefixes that were walked through.
type whereItWalked struct {
	inPlace
	prefixes []string
}

func (w *whereItWalked) Walk(ctx context.Context, prefix, after string, each func(Placed) error) error {
	w.prefixes = append(w.prefixes, prefix)
	return w.inPlace.Walk(ctx, prefix, after, each)
}

// A kind is moved while a run compares its rows. What is in place is where it is now: at
// the old place everything would be an orphan, and nothing there.
func TestMoveKindBeforeAWalk(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	b.Exec(t, "SELECT casq.define_kind('doc', 'file', prefix => 'old')")
	target := &whereItWalked{inPlace: inPlace{}}
	var moved sync.Once
	b.reconcile(t, registry.Request{Kind: "doc", Walk: true}, b.configure(5000), func(c *Config) {
		c.Targets[eventlog.TransferFile] = target
		c.Hook = func(point string) {
			if point != "reconcile:committed" {
				return
			}
			moved.Do(func() {
				if _, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", "new", registry.MoveOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
	})
	if want := []string{"new"}; !slices.Equal(target.prefixes, want) {
		t.Errorf("walked through %q, want %q", target.prefixes, want)
	}
}
