package reconcile

import (
	"testing"

	"casq/registry"
)

// That a resource is told otherwise than the log told it makes a new version, and
// another incarnation only where the log has a hole: it may be another resource under
// the same key then. One more column that is told of never does.
func TestReconcileOfAnotherPayload(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		payload     string
		request     registry.Request
		incarnation int
	}{
		{"another value", `{"v": 1}`, registry.Request{Reason: registry.Scheduled}, 1},
		{"one more column", `{}`, registry.Request{Reason: registry.Scheduled}, 1},
		{"one column less", `{"v": 2, "w": 3}`, registry.Request{Reason: registry.Scheduled}, 1},
		{"another value, and events were pruned", `{"v": 1}`, registry.Request{Reason: registry.Pruned}, 2},
		{"one more column, and events were pruned", `{}`, registry.Request{Reason: registry.Pruned}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "a", 2)
			now := b.tick(t)
			b.know(t, "a", 2, now, false)
			b.Exec(t, "UPDATE casq.registry SET payload = $1", c.payload)
			b.follow(t)
			before := b.Row(t, "a")
			if c.request.Reason == registry.Pruned {
				c.request.At = &registry.Tick{Timeline: 1, ID: now}
			}
			b.reconcile(t, c.request)
			got := b.Row(t, "a")
			if got.Version == before.Version || got.Payload != `{"v": 2}` || got.Incarnation != int64(c.incarnation) {
				t.Errorf("version %d after %d, payload %s, incarnation %d; want a newer one, and incarnation %d",
					got.Version, before.Version, got.Payload, got.Incarnation, c.incarnation)
			}
		})
	}
}
