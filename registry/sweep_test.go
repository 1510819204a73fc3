package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/google/uuid"
)

// running adds a job that the queue believes to be running in a process.
func (b *testBundle) running(t *testing.T, process uuid.UUID, token registry.Token) {
	t.Helper()
	b.Exec(t, "INSERT INTO jobs (kind, resource_id, version, state, process) VALUES ($1, $2, $3, 'running', $4)",
		token.Kind, token.ResourceID, token.Version, process)
}

func (b *testBundle) processes(t *testing.T) (n int) {
	t.Helper()
	if err := b.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.processes").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func sweep(t *testing.T, p *registry.Process) {
	t.Helper()
	if err := p.SweepDead(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What a dead process had in hand, in every state of a run.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, live := b.Registry(t), b.Registry(t)
	sweeper := b.Process(t)

	var id int64
	create := func(key string) registry.Token { id += 10; return b.Create(t, id, key) }
	claimed := create("claimed")
	b.running(t, dead.Process().ID(), claimed)
	claim(t, dead, claimed)

	noJob := create("claimed, its job is not known")
	claim(t, dead, noJob)

	asked := create("asked")
	claim(t, dead, asked)
	b.Apply(t, event(id+1, eventlog.Deleted, "asked", "{}"))
	newest := b.TakeJobs(t)[0]
	if _, err := live.Claim(t.Context(), newest.Token, 8); !errors.Is(err, registry.ErrHandedOver) {
		t.Fatal(err)
	}

	fetched := create("fetched")
	b.running(t, dead.Process().ID(), fetched)

	stale := create("fetched, and asked for again")
	b.running(t, dead.Process().ID(), stale)
	again := b.Update(t, id+1, stale.ResourceID)

	synced := create("synced")
	if err := dead.Publish(claim(t, dead, synced), registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	b.running(t, dead.Process().ID(), synced)

	others := create("live")
	b.running(t, dead.Process().ID(), others) // handed over a moment ago
	kept := claim(t, live, others)

	b.TakeJobs(t)
	sweep(t, sweeper)
	b.WantJobs(t) // nobody is dead
	b.Kill(t, dead.Process())
	sweep(t, sweeper)

	jobs := b.TakeJobs(t)
	slices.SortFunc(jobs, func(x, y registry.Job) int { return registrytest.CompareTokens(x.Token, y.Token) })
	want := []registry.Job{newest, {Token: claimed}, {Token: noJob}, {Token: fetched}, {Token: again}}
	if !slices.Equal(jobs, want) {
		t.Errorf("got jobs %v, want %v", jobs, want)
	}
	for _, key := range []string{"claimed", "claimed, its job is not known", "asked", "fetched"} {
		if got := b.Row(t, key); got.Claim != nil || got.Asked || got.Status != "pending" && got.Status != "removing" {
			t.Errorf("%s: %+v", key, got)
		}
	}
	if got := b.Row(t, "synced"); got.Status != "synced" {
		t.Errorf("synced: %+v", got)
	}
	if got := b.Row(t, "live"); !is(got.Claim, kept.ID) {
		t.Errorf("live: %+v", got)
	}
	if n := b.processes(t); n != 2 {
		t.Errorf("%d processes are left", n)
	}
	sweep(t, sweeper)
	b.WantJobs(t)
	var running int
	if err := b.Pool.QueryRow(t.Context(), "SELECT count(*) FROM jobs WHERE state = 'running'").Scan(&running); err != nil || running != 0 {
		t.Errorf("%d jobs still seem to run: %v", running, err)
	}
}

// A process that was taken for dead wakes, fetches a job, and is killed before
// it finds out that its row is gone.
func TestSweepOfAJobWithoutAProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.Create(t, 1, "x")
	b.running(t, uuid.New(), token)
	p := b.Process(t)
	if err := p.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, registry.Job{Token: token})
}

// More claims than fit in a page, beside rows that nobody has.
func TestSweepIsPaged(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	dead, sweeper := b.Process(t), b.Process(t)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, claim, claim_process)
		SELECT $1, 'k' || n, 1, n, 1, '{}', CASE WHEN n % 5 = 0 THEN gen_random_uuid() END, CASE WHEN n % 5 = 0 THEN $2::uuid END
		FROM generate_series(1, $3::integer) AS n`, kind, dead.ID(), 2*registry.SweepPage+7)
	b.Exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", dead.ID())
	sweep(t, sweeper)
	if got, want := len(b.TakeJobs(t)), (2*registry.SweepPage+7)/5; got != want {
		t.Errorf("%d jobs, want %d", got, want)
	}
}

// Several sweep at once, each with the list that it has read before the others
// were done: one job for each resource, all the same.
func TestSweepersDoNotMultiply(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, live := b.Registry(t), b.Registry(t)
	fetched, claimed, others := b.Create(t, 1, "fetched"), b.Create(t, 2, "claimed"), b.Create(t, 3, "live")
	for _, token := range []registry.Token{fetched, claimed, others} {
		b.running(t, dead.Process().ID(), token)
	}
	claim(t, dead, claimed)
	kept := claim(t, live, others)
	b.Kill(t, dead.Process())
	tokens, jobs, err := b.Queue.Orphans(t.Context())
	if err != nil || len(tokens) != 3 {
		t.Fatal(tokens, err)
	}
	kinds, keys, newest := registry.Resources(tokens, jobs)
	for range 3 {
		sweeper := b.Process(t)
		if err := sweeper.SweepRows(t.Context(), kinds, keys, newest); err != nil {
			t.Fatal(err)
		}
		// Claims, by a page that was read when they were there.
		if err := sweeper.SweepRows(t.Context(), kinds, keys, make([]*int64, len(keys))); err != nil {
			t.Fatal(err)
		}
	}
	queued := b.TakeJobs(t)
	slices.SortFunc(queued, func(x, y registry.Job) int { return registrytest.CompareTokens(x.Token, y.Token) })
	if want := []registry.Job{{Token: claimed}, {Token: fetched}}; !slices.Equal(queued, want) {
		t.Fatalf("got jobs %v, want %v", queued, want)
	}
	// The live run was asked, once, in the dead one's name.
	if _, err := live.Fail(kept, errors.New("e"), nil); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, registry.Job{Token: others})
	if got := b.Row(t, "live"); got.Asked {
		t.Errorf("got %+v", got)
	}
	// The next job that dies is another one.
	b.running(t, uuid.New(), fetched)
	sweep(t, b.Process(t))
	b.WantJobs(t, registry.Job{Token: fetched})
}

func TestResourcesOfJobs(t *testing.T) {
	t.Parallel()
	token := func(kind, key string) registry.Token { return registry.Token{Kind: kind, ResourceID: key} }
	kinds, keys, newest := registry.Resources([]registry.Token{token("b", "x"), token("a", "y"), token("a", "x"), token("a", "y")}, []int64{1, 2, 3, 4})
	var jobs []int64
	for _, job := range newest {
		jobs = append(jobs, *job)
	}
	if !slices.Equal(kinds, []string{"a", "a", "b"}) || !slices.Equal(keys, []string{"x", "y", "x"}) || !slices.Equal(jobs, []int64{3, 4, 1}) {
		t.Errorf("got %v, %v, %v", kinds, keys, jobs)
	}
}

// What is looked for in vain, many times, is not failed for good when a worker
// dies at it; but counts from then on.
func TestSweepOfWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sweeper := b.Process(t, func(c *registry.ProcessConfig) { c.MaxAttempts = 3 })
	token := b.Create(t, 1, "x")
	for range 5 {
		r := b.Registry(t)
		if _, err := r.Missing(claim(t, r, token), errors.New("e"), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for attempt := 1; attempt <= 3; attempt++ {
		victim := b.Registry(t)
		claim(t, victim, token)
		b.Kill(t, victim.Process())
		sweep(t, sweeper)
		if got := b.Row(t, "x"); got.Attempts != attempt {
			t.Errorf("death %d: %+v", attempt, got)
		}
		if attempt < 3 {
			b.WantJobs(t, registry.Job{Token: token})
		}
	}
	b.WantJobs(t)
	if got := b.Row(t, "x"); got.Status != "failed" || got.RetryAt != nil {
		t.Errorf("got %+v", got)
	}
}

// A version whose runs keep dying has failed, whatever an earlier version was.
func TestSweepOfWhatWasAbsent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sweeper := b.Process(t, func(c *registry.ProcessConfig) { c.MaxAttempts = 3 })
	r := b.Registry(t)
	if _, err := r.Absent(claim(t, r, b.Create(t, 1, "x")), errors.New("e"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.Row(t, "x"); got.Status != "absent" {
		t.Errorf("got %+v", got)
	}
	token := b.Create(t, 2, "x")
	for range 3 {
		victim := b.Registry(t)
		claim(t, victim, token)
		b.Kill(t, victim.Process())
		sweep(t, sweeper)
	}
	if got := b.Row(t, "x"); got.Status != "failed" {
		t.Errorf("got %+v", got)
	}
}

// A version that kills its workers is not handed on for ever.
func TestSweepAtTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var swept []string
	sweeper := b.Process(t, func(c *registry.ProcessConfig) {
		c.MaxAttempts = 3
		c.Swept = func(_ context.Context, kind, key string, claim uuid.UUID) {
			swept = append(swept, fmt.Sprint(kind, " ", key, " ", claim))
		}
	})
	token := b.Create(t, 1, "x")
	for attempt := 1; ; attempt++ {
		victim := b.Registry(t)
		c := claim(t, victim, token)
		b.Kill(t, victim.Process())
		sweep(t, sweeper)
		got := b.Row(t, "x")
		if got.Claim != nil || got.Attempts != attempt {
			t.Fatalf("attempt %d: %+v", attempt, got)
		}
		if attempt < 3 {
			b.WantJobs(t, registry.Job{Token: token})
			continue
		}
		b.WantJobs(t)
		if got.Status != "failed" || got.RetryAt != nil || !is(got.LastError, "the worker died in attempt 3, the last one") {
			t.Errorf("got %+v", got)
		}
		if want := []string{fmt.Sprint(kind, " x ", c.ID)}; !slices.Equal(swept, want) {
			t.Errorf("swept %v, want %v", swept, want)
		}
		break
	}
	// A newer version is another matter.
	newer := b.Update(t, 2, "x")
	if c := claim(t, b.Registry(t), newer); c.Attempts != 1 {
		t.Errorf("got %+v", c)
	}
}

// A process that died between its commit and the removal of its staging leaves
// no claim; its job leads to the resource, and the resource to the claim it had last.
func TestSweepOfWhatWasCommitted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	swept := make(map[string]uuid.UUID)
	sweeper := b.Process(t, func(c *registry.ProcessConfig) {
		c.Swept = func(_ context.Context, _, key string, claim uuid.UUID) { swept[key] = claim }
	})
	dead := b.Registry(t)
	want := make(map[string]uuid.UUID)
	for i, key := range []string{"synced", "removed", "synced, then updated", "failed", "never claimed"} {
		token := b.Create(t, int64(10*i+1), key)
		if key == "removed" {
			b.Apply(t, event(int64(10*i+2), eventlog.Deleted, key, "{}"))
			token = b.TakeJobs(t)[0].Token
		}
		b.running(t, dead.Process().ID(), token)
		if key == "never claimed" {
			continue
		}
		c := claim(t, dead, token)
		var err error
		if key == "failed" {
			_, err = dead.Fail(c, errors.New("e"), nil)
		} else {
			err = dead.Publish(c, registry.Result{}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if key == "synced, then updated" { // its next run will begin with that
			b.Update(t, int64(10*i+3), key)
			continue
		}
		want[key] = c.ID
	}
	b.Kill(t, dead.Process())
	sweep(t, sweeper)
	if !maps.Equal(swept, want) {
		t.Errorf("swept %v, want %v", swept, want)
	}
}

// dyingQueue dies at one of its calls.
type dyingQueue struct {
	*registrytest.Queue
	calls, dieAt int
}

var errDied = errors.New("died")

func (q *dyingQueue) Abandon(ctx context.Context, jobs []int64) error {
	q.calls++
	if q.calls == q.dieAt {
		return errDied
	}
	return q.Queue.Abandon(ctx, jobs)
}

func (q *dyingQueue) Orphans(ctx context.Context) ([]registry.Token, []int64, error) {
	q.calls++
	if q.calls == q.dieAt {
		return nil, nil, errDied
	}
	return q.Queue.Orphans(ctx)
}

// A sweeper that dies half-way leaves the rest to the next one.
func TestSweepIsRepeated(t *testing.T) {
	t.Parallel()
	for dieAt := 1; dieAt <= 6; dieAt++ {
		t.Run(fmt.Sprint("call ", dieAt), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			dead := b.Registry(t)
			var tokens []registry.Token
			for i := range 4 {
				token := b.Create(t, int64(i+1), fmt.Sprint("x", i))
				tokens = append(tokens, token)
				b.running(t, dead.Process().ID(), token)
				if i%2 == 0 {
					claim(t, dead, token)
				}
			}
			b.Kill(t, dead.Process())
			sweeper := b.Process(t, func(c *registry.ProcessConfig) { c.Queue = &dyingQueue{b.Queue, 0, dieAt} })
			err := sweeper.SweepDead(t.Context())
			if died := dieAt <= 5; died != errors.Is(err, errDied) {
				t.Fatal(err)
			}
			sweep(t, b.Process(t))
			jobs := b.TakeJobs(t)
			for i, token := range tokens {
				if !slices.Contains(jobs, registry.Job{Token: token}) {
					t.Errorf("nobody has %v: %v", token, jobs)
				}
				if got := b.Row(t, fmt.Sprint("x", i)); got.Claim != nil {
					t.Errorf("got %+v", got)
				}
			}
			if n := b.processes(t); n != 2 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}
