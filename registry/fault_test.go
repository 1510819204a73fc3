package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/registry"
)

// faultBundle is a registry whose own connection can be made to fail; the
// bundle's other connections always work.
type faultBundle struct {
	*testBundle
	network   *network
	registry  *registry.Registry
	resources int
}

func setupFaults(t *testing.T) *faultBundle {
	t.Helper()
	url := testdb.New(t).URL
	b := &faultBundle{testBundle: setupAt(t, url), network: &network{}}
	b.registry = b.testBundle.Registry(t, func(c *registry.Config) { c.Pool = b.network.pool(t, url) })
	return b
}

// resource makes another resource.
func (b *faultBundle) resource(t *testing.T) registry.Token {
	t.Helper()
	b.resources++
	return b.Create(t, int64(100*b.resources), fmt.Sprintf("k%d", b.resources))
}

// warm makes the connection prepare its statements, so that each step is one
// message: what is lost is a statement and not its preparation. Run both ways,
// since a restarted worker has not prepared anything.
func (b *faultBundle) warm(t *testing.T) {
	t.Helper()
	c := claim(t, b.registry, b.resource(t))
	newer := b.Update(t, int64(100*b.resources+1), c.ResourceID)
	if _, err := b.registry.Claim(t.Context(), newer, 8); !errors.Is(err, registry.ErrHandedOver) {
		t.Fatal(err)
	}
	if err := b.registry.Publish(c, registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, registry.Job{Token: newer})
}

// matrix runs f once for each message that it sends and each way to lose it. f
// is given what to call when the fault may begin.
func matrix(t *testing.T, hit func(*testing.T, *faultBundle, registry.Token), f func(t *testing.T, b *faultBundle, begin func(registry.Token))) {
	t.Helper()
	b := setupFaults(t)
	for _, answer := range []bool{false, true} {
		for _, warm := range []bool{false, true} {
			for message := 1; ; message++ {
				if message > 60 {
					t.Fatal("the matrix has no end")
				}
				b.registry.Pool().Reset()
				if warm {
					b.warm(t)
				}
				f(t, b, func(token registry.Token) {
					b.network.lose(message, answer, func() {
						if hit != nil {
							hit(t, b, token)
						}
					})
				})
				if t.Failed() {
					t.Fatalf("message %d, answer %v, warm %v", message, answer, warm)
				}
				if !b.network.heal() {
					t.Logf("%d messages (answer %v, warm %v)", message-1, answer, warm)
					break
				}
			}
		}
	}
}

// Each step of the end of a run is lost, or done and its answer lost.
func TestFaultsOfPublish(t *testing.T) {
	long.Test(t)
	t.Parallel()
	matrix(t, nil, func(t *testing.T, b *faultBundle, begin func(registry.Token)) {
		token := b.resource(t)
		c := claim(t, b.registry, token)
		newer := b.Update(t, int64(100*b.resources+1), token.ResourceID)
		if _, err := b.registry.Claim(t.Context(), newer, 8); !errors.Is(err, registry.ErrHandedOver) {
			t.Fatal(err)
		}
		// What a transfer does: once it has renamed, it has renamed.
		var renames atomic.Int64
		begin(token)
		err := b.registry.Publish(c, registry.Result{Checksum: "sum", Size: 3}, func(context.Context) error {
			renames.CompareAndSwap(0, 1)
			return nil
		})
		got := b.Row(t, token.ResourceID)
		if err != nil || renames.Load() != 1 || !is(got.Synced, token.Version) || !is(got.Checksum, "sum") || got.Claim != nil || got.Asked || got.Attempts != 0 {
			t.Errorf("got %v, %+v", err, got)
		}
		b.WantJobs(t, registry.Job{Token: newer})
	})
}

func TestFaultsOfFail(t *testing.T) {
	long.Test(t)
	t.Parallel()
	matrix(t, nil, func(t *testing.T, b *faultBundle, begin func(registry.Token)) {
		token := b.resource(t)
		c := claim(t, b.registry, token)
		begin(token)
		superseded, err := b.registry.Fail(c, errors.New("no source"), new(time.Now().Add(time.Hour)))
		// Told "fenced", the worker would end its job, and nobody tried again.
		if superseded || err != nil {
			t.Errorf("superseded %v, error %v", superseded, err)
		}
		if got := b.Row(t, token.ResourceID); got.Status != "failed" || got.RetryAt == nil || !is(got.LastError, "no source") || got.Attempts != 1 || got.Claim != nil {
			t.Errorf("got %+v", got)
		}
		b.WantJobs(t)
	})
}

func TestFaultsOfRelease(t *testing.T) {
	long.Test(t)
	t.Parallel()
	matrix(t, nil, func(t *testing.T, b *faultBundle, begin func(registry.Token)) {
		token := b.resource(t)
		c := claim(t, b.registry, token)
		begin(token)
		if err := b.registry.Release(c); err != nil {
			t.Error(err)
		}
		if got := b.Row(t, token.ResourceID); got.Status != "pending" || got.Attempts != 0 || got.Claim != nil {
			t.Errorf("got %+v", got)
		}
		b.WantJobs(t, registry.Job{Token: token})
	})
}

func TestFaultsOfClaim(t *testing.T) {
	long.Test(t)
	t.Parallel()
	matrix(t, nil, func(t *testing.T, b *faultBundle, begin func(registry.Token)) {
		token := b.resource(t)
		begin(token)
		c, err := b.registry.Claim(t.Context(), token, 9)
		got := b.Row(t, token.ResourceID)
		if err != nil || !is(got.Claim, c.ID) || got.Attempts != 1 || c.Attempts != 1 {
			t.Errorf("got %v, %+v", err, got)
		}
	})
}

// The answer to a claim is lost, and a newer version comes before it is asked
// for again: the run is superseded, and must not keep what it was granted.
func TestFaultsOfClaimAndANewerVersion(t *testing.T) {
	long.Test(t)
	t.Parallel()
	newer := func(t *testing.T, b *faultBundle, token registry.Token) {
		b.Apply(t, event(int64(100*b.resources+50), eventlog.Updated, token.ResourceID, "{}"))
	}
	matrix(t, newer, func(t *testing.T, b *faultBundle, begin func(registry.Token)) {
		token := b.resource(t)
		begin(token)
		c, err := b.registry.Claim(t.Context(), token, 9)
		got := b.Row(t, token.ResourceID)
		switch {
		case got.Version == token.Version: // no fault any more
			if err != nil {
				t.Error(err)
			}
			return
		case err == nil || c != nil:
			t.Error("a stale token was granted")
		case !errors.Is(err, registry.ErrSuperseded):
			t.Error(err)
		case got.Claim != nil:
			t.Errorf("a claim that nobody works under: %+v", got)
		}
		if jobs := b.TakeJobs(t); len(jobs) == 0 || jobs[0].Version != got.Version {
			t.Errorf("got jobs %v for %+v", jobs, got)
		}
	})
}

// The same, and the process is taken for dead.
func TestFaultsOfClaimAndDeath(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dies := func(t *testing.T, b *faultBundle, _ registry.Token) { b.Kill(t, b.registry.Process()) }
	matrix(t, dies, func(t *testing.T, b *faultBundle, begin func(registry.Token)) {
		token := b.resource(t)
		begin(token)
		_, err := b.registry.Claim(t.Context(), token, 9)
		lost := b.network.heal()
		b.Exec(t, "UPDATE casq.processes SET dead_at = NULL WHERE id = $1", b.registry.Process().ID())
		b.network.lose(0, false, nil)
		b.network.lost = lost
		if !lost {
			return
		}
		if !errors.Is(err, registry.ErrProcessLost) {
			t.Error(err)
		}
		if got := b.Row(t, token.ResourceID); got.Claim != nil {
			t.Errorf("a claim that nobody works under: %+v", got)
		}
		b.TakeJobs(t)
	})
}
