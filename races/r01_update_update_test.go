package races

import (
	"errors"
	"testing"

	"casq/registry"
)

// TestR01UpdateUpdate: a resource changes while a job copies it for long. The job
// ends with the old bytes and knows nothing of the change. If its end says
// "synced", nobody copies the new bytes: their own job has come and gone, since
// the resource was being worked on, or it finds the resource synced. The row has to
// stay unsynced until the newer version's own job has committed, and that job
// has to come by itself, not after a time-out.
func TestR01UpdateUpdate(t *testing.T) {
	t.Parallel()
	t.Run("twin/one status and a lease", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "first")
		n.event(t)
		n.start(t)
		copied := n.copy(t)
		s.put(t, "second")
		n.event(t)
		if n.start(t) {
			t.Fatal("the second job got the lease")
		}
		n.publish(t, copied)
		n.end(t)
		if n.status(t) != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want synced with the first bytes, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("twin/end without a version", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		h := s.byHand(t)
		s.put(t, "first")
		run := h.copy(t, h.follow(t))
		s.put(t, "second")
		newer := h.follow(t)
		publish(t, run)
		execute(t, s.pool, `UPDATE casq.registry SET synced_version = version, claim = NULL, claim_process = NULL`)
		if _, err := h.registry.Claim(t.Context(), newer, 2); !errors.Is(err, registry.ErrSuperseded) {
			t.Fatalf("the second job's claim: %v; want superseded, for that is what goes wrong", err)
		}
		if got := s.row(t).Status; got != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want synced with the first bytes, for that is what goes wrong", got, s.inPlace(t))
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		copied := points.stopAt("copy:staged")
		s.work(t, points)
		s.put(t, "first")
		copied.wait(t)
		first := s.row(t)
		s.put(t, "second")
		s.until(t, "the second job", func() bool { return s.row(t).Asked })
		if second := s.row(t); second.Version <= first.Version || second.Status != "started" {
			t.Fatalf("got %+v", second)
		}
		claimed := points.stopAt("work:claimed")
		copied.release()
		claimed.wait(t)
		// The old bytes may be in place, as what they are.
		row := s.row(t)
		if row.Status == "synced" || row.Synced == nil || *row.Synced != first.Version || row.Version <= first.Version || s.inPlace(t) != "first" {
			t.Errorf("before the second job has copied: %+v with %q", row, s.inPlace(t))
		}
		claimed.release()
		s.reaches(t, "synced", "second")
	})
}
