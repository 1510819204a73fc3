package races

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"casq/registry"
)

// TestR18GivingBack: a claim is given back while another run asks for it. The
// one who asks finds the resource taken and leaves; the other has looked for
// somebody who waits, a moment before. If both go, nobody comes any more. One of
// the two always has to continue the work, and no time-out may be the reason.
func TestR18GivingBack(t *testing.T) {
	t.Parallel()
	t.Run("twin/look, then ask", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		giver, claim, _ := s.twoVersions(t)
		if got := lines(t, s.pool, `SELECT (claim IS NOT NULL)::text FROM casq.registry`); got != "true" {
			t.Fatal("the asker found nobody at work")
		}
		if err := giver.registry.Publish(claim, registry.Result{}, nil); err != nil {
			t.Fatal(err)
		}
		execute(t, s.pool, `UPDATE casq.registry SET asked = true WHERE claim IS NOT NULL`)
		s.endJobs(t)
		if row := s.row(t); row.Status != "pending" || row.Claim != nil || row.Asked || row.UnderWay != 0 {
			t.Errorf("%+v; want nobody at work and nobody to come, for that is what goes wrong", row)
		}
	})
	t.Run("twin/snooze", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		giver, claim, _ := s.twoVersions(t)
		if got := lines(t, s.pool, `SELECT (claim IS NOT NULL)::text FROM casq.registry`); got != "true" {
			t.Fatal("the asker found nobody at work")
		}
		if err := giver.registry.Publish(claim, registry.Result{}, nil); err != nil {
			t.Fatal(err)
		}
		// The giver wakes who sleeps; the asker goes to sleep.
		execute(t, s.pool, `UPDATE river.river_job SET state = 'available', scheduled_at = now() WHERE state = 'scheduled'`)
		execute(t, s.pool, `UPDATE river.river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour' WHERE finalized_at IS NULL`)
		awake := lines(t, s.pool, `SELECT count(*)::text FROM river.river_job WHERE state = 'available'`)
		if row := s.row(t); row.Status != "pending" || row.Claim != nil || awake != "0" {
			t.Errorf("%+v, %s awake; want the work to wait for a time-out, for that is what goes wrong", row, awake)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		for name, give := range givings {
			for _, first := range []string{"giver", "asker"} {
				s.giveAndAsk(t, fmt.Sprintf("%s, %s first", name, first), give, first == "giver")
			}
		}
	})
}

// givings are the ways to give a claim back, but the sweep, which always queues
// a job.
var givings = map[string]func(*registry.Registry, *registry.Claim) error{
	"published": func(r *registry.Registry, c *registry.Claim) error { return r.Publish(c, registry.Result{}, nil) },
	"failed": func(r *registry.Registry, c *registry.Claim) error {
		_, err := r.Fail(c, errors.New("no luck"), new(time.Now().Add(time.Hour)))
		return err
	},
	"released": func(r *registry.Registry, c *registry.Claim) error { return r.Release(c) },
}

// twoVersions makes a resource, claims it, and gives it a newer version, whose
// job's token is returned.
func (s *registrySite) twoVersions(t *testing.T) (h *hand, claim *registry.Claim, newer registry.Token) {
	t.Helper()
	h = s.byHand(t)
	s.put(t, "first")
	claim = h.claim(t, h.follow(t))
	s.put(t, "second")
	newer = h.follow(t)
	s.row(t)
	// The first version's job is the giver's.
	execute(t, s.pool, `UPDATE river.river_job SET state = 'completed', finalized_at = now()
		WHERE (args ->> 'version')::bigint < `+strconv.FormatInt(newer.Version, 10))
	return h, claim, newer
}

// endJobs is what River does when the runs have returned.
func (s *registrySite) endJobs(t *testing.T) {
	t.Helper()
	execute(t, s.pool, `UPDATE river.river_job SET state = 'completed', finalized_at = now() WHERE finalized_at IS NULL`)
}

// giveAndAsk lets both come to the row's lock in the given order, while a third
// session has it, and then go on.
func (s *registrySite) giveAndAsk(t *testing.T, what string, give func(*registry.Registry, *registry.Claim) error, giverFirst bool) {
	t.Helper()
	execute(t, s.pool, `DELETE FROM casq.registry; DELETE FROM river.river_job; DELETE FROM artifacts; DELETE FROM casq.cursors`)
	giver, claim, newer := s.twoVersions(t)
	asker := s.byHand(t)
	s.endJobs(t) // the asker is the newer version's only job
	third, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	execute(t, third, `SELECT FROM casq.registry FOR UPDATE`)
	gave, asked := make(chan error, 1), make(chan error, 1)
	var second *registry.Claim
	steps := []func(){
		func() { gave <- give(giver.registry, claim) },
		func() {
			var err error
			second, err = asker.registry.Claim(t.Context(), newer, 2)
			asked <- err
		},
	}
	if !giverFirst {
		steps[0], steps[1] = steps[1], steps[0]
	}
	for i, step := range steps {
		go step()
		s.until(t, "the wait for the row", func() bool {
			return lines(t, s.pool, `SELECT count(*)::text FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock'`) == strconv.Itoa(i+1)
		})
	}
	if err := third.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-gave; err != nil {
		t.Errorf("%s: the giver ended with %v", what, err)
	}
	askErr := <-asked
	row := s.row(t)
	switch {
	case askErr == nil && row.Claim != nil && *row.Claim == second.ID:
		if err := asker.registry.Publish(second, registry.Result{}, nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case errors.Is(askErr, registry.ErrHandedOver) && row.Claim == nil && row.NewestJobs == 1:
	default:
		t.Errorf("%s: the asker ended with %v, the row is %+v: nobody continues", what, askErr, row)
	}
	if asking := errors.Is(askErr, registry.ErrHandedOver); asking == giverFirst {
		t.Errorf("%s: the asker ended with %v: that is another interleaving", what, askErr)
	}
}
