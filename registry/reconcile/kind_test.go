package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"casq/registry"
)

// A kind is not dropped over the head of its table, or of the log.
func TestDropKindRefused(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false); !errors.Is(err, registry.ErrKind) || !strings.Contains(err.Error(), "casq.untrack(kind => 'resource') first") {
		t.Errorf("tracked: %v", err)
	}
	b.tick(t)
	b.follow(t)
	b.put(t, "x", 1)
	b.Exec(t, "SELECT casq.untrack(kind => $1)", kind)
	if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false); !errors.Is(err, registry.ErrKind) || !strings.Contains(err.Error(), "1 events of kind 'resource' are still to be read") {
		t.Errorf("behind: %v", err)
	}
	b.tick(t)
	b.follow(t)
	if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false); err != nil {
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
			if _, err := registry.DropKind(t.Context(), b.Pool, kind, true, false); err != nil {
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
