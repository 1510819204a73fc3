package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// site is a log that goes on, workers that copy, fail, stop and die, and a
// place: what a registry has to live with, at once and on the same few keys.
//
// mu guards the rest.
type site struct {
	*testBundle
	keys []string

	mu     sync.Mutex
	place  map[string]int64           // version in place by key
	copies map[string]*registry.Claim // what is copied into it by one of those alive
	counts map[string]int
	alive  []*registry.Registry
	owner  map[uuid.UUID]uuid.UUID // process by claim
	killed map[uuid.UUID]bool
	events int64
	random *rand.Rand
}

func newSite(t *testing.T, seed uint64) *site {
	t.Helper()
	t.Logf("seed %d", seed)
	s := &site{
		testBundle: setup(t), place: map[string]int64{}, copies: map[string]*registry.Claim{}, counts: map[string]int{},
		owner: map[uuid.UUID]uuid.UUID{}, killed: map[uuid.UUID]bool{}, random: rand.New(rand.NewPCG(seed, 1)),
	}
	var events []eventlog.Event
	for i := range 8 {
		s.events++
		s.keys = append(s.keys, fmt.Sprint("k", i))
		events = append(events, event(s.events, eventlog.Created, s.keys[i], "{}"))
	}
	s.Apply(t, events...)
	for range 3 {
		s.alive = append(s.alive, s.Registry(t))
	}
	return s
}

func (s *site) chance(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// write appends a batch of changes, now and then with an old event among them.
func (s *site) write(t *testing.T) {
	var events []eventlog.Event
	s.mu.Lock()
	for range 1 + s.random.IntN(6) {
		s.events++
		op := []eventlog.Op{eventlog.Created, eventlog.Updated, eventlog.Updated, eventlog.Deleted}[s.random.IntN(4)]
		events = append(events, event(s.events, op, s.keys[s.random.IntN(len(s.keys))], "{}"))
	}
	if s.random.IntN(5) == 0 {
		events[0].ID = 1
	}
	s.mu.Unlock()
	s.Apply(t, events...)
}

func (s *site) resync(t *testing.T) {
	if _, err := registry.ResyncKind(t.Context(), s.Pool, s.Queue, kind, registry.ResyncOptions{PageSize: 3}); err != nil {
		t.Error(err)
	}
}

// crash takes one of the processes for dead: its runs go on and do not know.
// Another one hands on what it had, and a new one comes.
func (s *site) crash(t *testing.T) {
	fresh := s.Registry(t)
	s.mu.Lock()
	i := s.random.IntN(len(s.alive))
	victim := s.alive[i]
	s.alive[i] = fresh
	s.killed[victim.Process().ID()] = true
	for key, c := range s.copies {
		if s.owner[c.ID] == victim.Process().ID() {
			delete(s.copies, key)
		}
	}
	s.mu.Unlock()
	s.Kill(t, victim.Process())
	if err := fresh.Process().Watch(t.Context()); err != nil {
		t.Error(err)
	}
}

// fetch takes a job as River does: it is the process's until it is finished.
func (s *site) fetch(t *testing.T) (r *registry.Registry, id int64, token registry.Token, ok bool) {
	s.mu.Lock()
	r = s.alive[s.random.IntN(len(s.alive))]
	s.mu.Unlock()
	err := s.Pool.QueryRow(t.Context(), `UPDATE jobs SET state = 'running', process = $1
		WHERE id = (SELECT id FROM jobs WHERE state = 'available' ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, kind, resource_id, version`, r.Process().ID()).Scan(&id, &token.Kind, &token.ResourceID, &token.Version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Error(err)
	}
	return r, id, token, err == nil
}

// finish is River's own end of a job, which knows nothing of the registry.
func (s *site) finish(t *testing.T, id int64, again bool) {
	sql := "DELETE FROM jobs WHERE id = $1"
	if again {
		sql = "UPDATE jobs SET state = 'available' WHERE id = $1 AND state = 'running'"
	}
	s.Exec(t, sql, id)
}

// work is one run of one job; false: there was none.
func (s *site) work(t *testing.T) bool {
	r, job, token, ok := s.fetch(t)
	if !ok {
		return false
	}
	c, err := r.Claim(t.Context(), token, job)
	s.note(err)
	if err != nil {
		s.finish(t, job, errors.Is(err, registry.ErrProcessLost))
		return true
	}
	s.copy(t, r, c)
	again := false
	switch s.chance(10) {
	case 0:
		err = r.Release(c)
	case 1:
		again, err = s.fail(r, c)
	case 2: // the target has a bad day
		err = r.Publish(c, registry.Result{}, func(context.Context) error { return errors.New("disk full") })
		if !errors.Is(err, registry.ErrFenced) && !errors.Is(err, registry.ErrSuperseded) {
			again, err = s.fail(r, c)
		}
	default:
		err = r.Publish(c, registry.Result{}, func(context.Context) error { return s.put(c) })
	}
	s.note(err)
	if err != nil && !errors.Is(err, registry.ErrFenced) && !errors.Is(err, registry.ErrSuperseded) {
		t.Error(err)
	}
	s.finish(t, job, again)
	return true
}

// note counts what becomes of runs.
func (s *site) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[fmt.Sprint(err)]++
}

func (s *site) fail(r *registry.Registry, c *registry.Claim) (again bool, err error) {
	superseded, err := r.Fail(c, errors.New("bad luck"), new(time.Now()))
	return !superseded && err == nil, err
}

// copy looks that nobody else copies into the same place, among the living.
func (s *site) copy(t *testing.T, r *registry.Registry, c *registry.Claim) {
	s.mu.Lock()
	if s.killed[r.Process().ID()] {
		s.mu.Unlock()
		return
	}
	if other := s.copies[c.ResourceID]; other != nil {
		t.Errorf("two copies into %s at once: of %d and %d", c.ResourceID, other.Version, c.Version)
	}
	s.copies[c.ResourceID], s.owner[c.ID] = c, r.Process().ID()
	s.mu.Unlock()
	s.Exec(t, "SELECT pg_sleep(random() / 200)")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies[c.ResourceID] == c {
		delete(s.copies, c.ResourceID)
	}
}

// put is the rename. It is called under the row's lock.
func (s *site) put(c *registry.Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Deleted {
		delete(s.place, c.ResourceID)
	} else {
		s.place[c.ResourceID] = c.Version
	}
	return nil
}

// Nothing is stuck, nothing is lost, and nobody waits for anybody for ever:
// once the log is quiet and the jobs are done, every row is in place.
func TestNothingIsStuck(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, seed)
			s.unrest(t, time.Second)
			s.drain(t)
			s.check(t)
			t.Logf("%d events, %d processes died, runs ended with %v", s.events, len(s.killed), s.counts)
		})
	}
}

// seen tells whether runs have ended in every way.
func (s *site) seen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, outcome := range []error{nil, registry.ErrSuperseded, registry.ErrHandedOver, registry.ErrFenced} {
		if s.counts[fmt.Sprint(outcome)] == 0 {
			return false
		}
	}
	return true
}

// unrest lets everything happen at once for a while. Processes still die when
// nothing else comes that would ask for the same resources again.
func (s *site) unrest(t *testing.T, d time.Duration) {
	dusk, night := make(chan struct{}), make(chan struct{})
	began := time.Now()
	var day, work sync.WaitGroup
	for _, f := range []func(*testing.T){s.write, s.resync, s.crash} {
		day.Go(func() {
			for ended := false; !ended; {
				f(t)
				select {
				case <-dusk:
					ended = true
				case <-time.After(time.Duration(s.chance(50)) * time.Millisecond):
				}
			}
		})
	}
	for range 12 {
		work.Go(func() {
			for ended := false; !ended; {
				s.work(t)
				select {
				case <-night:
					ended = true
				default:
				}
			}
		})
	}
	until(t, "a run that ends in each way", func() bool { return s.seen() && time.Since(began) > d })
	close(dusk)
	day.Wait()
	s.resync(t)
	for range 6 {
		s.crash(t)
	}
	close(night)
	work.Wait()
}

// drain works until there is nothing to do.
func (s *site) drain(t *testing.T) {
	until(t, "the end of all work", func() bool {
		for s.work(t) {
		}
		if err := s.alive[0].Process().Watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := s.Pool.QueryRow(t.Context(), "SELECT count(*) FROM jobs WHERE state <> 'abandoned'").Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
}

func (s *site) check(t *testing.T) {
	for _, key := range s.keys {
		got := s.Row(t, key)
		version, there := s.place[key]
		if got.Claim != nil || got.Asked || (got.Status != "synced" && got.Status != "removed") {
			t.Errorf("%s is stuck: %+v: %s", key, got, s.why(t, kind, key))
		}
		if there == got.Deleted || there && version != got.Version {
			t.Errorf("%s: in place is %d (%v), the row is %+v", key, version, there, got)
		}
	}
}
