package races

import (
	"errors"
	"testing"
	"time"

	"casq/internal/worker"
	"casq/registry"
	"casq/transfer"
)

// slow makes a worker that seems dead to others after a second, has one run at
// a time, and never takes others for dead.
func slow(c *worker.Config) { c.ClaimTTL, c.Concurrency = time.Hour, 1 }

// watchful makes a worker that takes others for dead after a second.
func watchful(c *worker.Config) { c.ClaimTTL = time.Second }

// TestR05ABA: a run outlives its claim. Meanwhile a newer version has come, and
// another run has the row: to the first one it looks as it left it, started.
// When it ends it must not mark the row, which is the other's.
func TestR05ABA(t *testing.T) {
	t.Parallel()
	t.Run("twin/one status and a lease", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		n := s.naive(t)
		s.put(t, "first")
		n.event(t)
		n.start(t)
		copied := n.copy(t)
		n.expire(t)
		s.put(t, "second")
		n.event(t)
		if !n.start(t) {
			t.Fatal("the second run did not get the lease")
		}
		// Even one that looks: the row is started, as it left it.
		n.publish(t, copied)
		execute(t, s.pool, `UPDATE naive SET status = 'synced', leased = false WHERE status = 'started'`)
		if n.status(t) != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want synced with the first bytes while the second run copies, for that is what goes wrong", n.status(t), s.inPlace(t))
		}
	})
	t.Run("twin/claim without an owner", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		first := s.byHand(t)
		s.put(t, "first")
		run := first.copy(t, first.follow(t))
		execute(t, s.pool, `UPDATE casq.processes SET dead_at = now()`)
		s.put(t, "second")
		token := first.follow(t)
		second := s.byHand(t)
		claim := second.claim(t, token)
		publish(t, run)
		execute(t, s.pool, `UPDATE casq.registry SET synced_version = version, claim = NULL, claim_process = NULL WHERE claim IS NOT NULL`)
		if got := s.row(t).Status; got != "synced" || s.inPlace(t) != "first" {
			t.Errorf("%s with %q; want synced with the first bytes, for that is what goes wrong", got, s.inPlace(t))
		}
		if err := second.registry.Publish(claim, registry.Result{}, nil); !errors.Is(err, registry.ErrFenced) {
			t.Errorf("the run that had it: %v", err)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, a, b := newRegistrySite(t), newPoints(), newPoints()
		copied, ended := a.stopAt("copy:staged"), a.stopAt("complete:committed")
		s.work(t, a, slow)
		s.put(t, "first")
		copied.wait(t)
		first := s.row(t)
		s.put(t, "second")
		s.until(t, "the second version", func() bool { return s.row(t).Version > first.Version })

		claimed := b.stopAt("work:claimed")
		s.work(t, b, watchful)
		claimed.wait(t)
		second := s.row(t)
		if second.Claim == nil || *second.Claim == *first.Claim || second.Status != "started" {
			t.Fatalf("got %+v", second)
		}
		copied.release()
		ended.wait(t)
		row := s.row(t)
		if row.Claim == nil || *row.Claim != *second.Claim || row.Synced != nil || row.Attempts != 1 || s.inPlace(t) != "" {
			t.Errorf("the first run left a trace: %+v with %q", row, s.inPlace(t))
		}
		ended.release()
		claimed.release()
		s.reaches(t, "synced", "second")
	})
}

// TestR05ABALateBegin: a run is taken for dead before it begins, and wakes. It
// makes its staging and removes that of whoever has the row now. The newer run
// finds its staging gone and believes to be fenced. If it leaves it at that, the
// row keeps the claim of a process that lives: all that come are handed over to a
// run that has ended.
func TestR05ABALateBegin(t *testing.T) {
	t.Parallel()
	t.Run("twin/fenced means over", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		first := s.byHand(t)
		s.put(t, "first")
		late := first.claim(t, first.follow(t))
		execute(t, s.pool, `UPDATE casq.processes SET dead_at = now()`)
		s.put(t, "second")
		token := first.follow(t)
		second := s.byHand(t)
		run := second.copy(t, token)
		first.begin(t, late)
		if err := run.Publish(t.Context()); !errors.Is(err, transfer.ErrFenced) {
			t.Fatalf("the newer run: %v", err)
		}
		// Here the twin's job ends. Whatever comes, this is what it is told.
		for range 2 {
			if _, err := registry.ResyncOne(t.Context(), s.pool, second.queue, "artifact", key, false); err != nil {
				t.Fatal(err)
			}
			token.Version = s.row(t).Version
			if _, err := second.registry.Claim(t.Context(), token, 3); !errors.Is(err, registry.ErrHandedOver) {
				t.Errorf("got %v; want handed over, for that is what goes wrong", err)
			}
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		fetched := points.stopAt("work:fetched")
		s.work(t, points, watchful)
		s.put(t, "first")
		fetched.wait(t)
		// A process that claims, and is not heard of again.
		first := s.byHand(t)
		late := first.claim(t, registry.Token{Kind: "artifact", ResourceID: key, Version: s.row(t).Version})
		copied := points.stopAt("copy:staged")
		s.put(t, "second")
		s.until(t, "the second version", func() bool { return s.row(t).Version > late.Version })
		fetched.release()
		copied.wait(t)
		run := first.begin(t, late) // the staging of the second run is gone
		if err := first.registry.Publish(late, registry.Result{}, run.Publish); !errors.Is(err, registry.ErrFenced) {
			t.Errorf("the late run ended with %v", err)
		}
		copied.release()
		s.reaches(t, "synced", "second")
	})
}
