package registry_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/registry"
)

// outage kills a server where a run is, and starts it again.
type outage struct {
	*testBundle
	cluster *testdb.Cluster

	mu    sync.Mutex
	point string // at which it is killed next
	down  chan struct{}
}

func (o *outage) at(point string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.point, o.down = point, make(chan struct{})
}

func (o *outage) hook(t *testing.T) func(string) {
	return func(point string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if point != o.point {
			return
		}
		o.point = ""
		if err := o.cluster.Primary.Kill(); err != nil {
			t.Error(err)
		}
		close(o.down)
	}
}

func (o *outage) end(t *testing.T) {
	t.Helper()
	if err := o.cluster.Primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Pool.Reset()
}

// The server is killed in the middle of a claim, before and between the steps of
// a commit: what a run has copied is neither lost nor written twice.
func TestRunsOutliveAnOutage(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t)
	o := &outage{testBundle: setupAt(t, cluster.URL()), cluster: cluster}
	r := o.Registry(t, func(c *registry.Config) { c.Hook = o.hook(t) })
	ended := make(chan error, 1)
	for i, point := range []string{"complete:locked", "complete:published"} {
		token := o.Create(t, int64(i+1), point)
		c := claim(t, r, token)
		var calls atomic.Int64
		o.at(point)
		go func() {
			ended <- r.Publish(c, registry.Result{Checksum: "sum"}, func(context.Context) error { calls.Add(1); return nil })
		}()
		receive(t, "the kill", o.down)
		o.end(t)
		if err := receive(t, "the end of the run", ended); err != nil {
			t.Errorf("killed at %s: %v", point, err)
		}
		got := o.Row(t, point)
		if got.Status != "synced" || got.Attempts != 1 || got.Claim != nil {
			t.Errorf("killed at %s: %+v", point, got)
		}
		if calls.Load() > 2 {
			t.Errorf("published %d times", calls.Load())
		}
	}

	token, other := o.Create(t, 8, "claimed"), o.Create(t, 9, "failed")
	c := claim(t, r, other)
	if err := cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	claimed := make(chan *registry.Claim, 1)
	go func() {
		c, err := r.Claim(context.Background(), token, 7)
		claimed <- c
		ended <- err
	}()
	go func() {
		_, err := r.Fail(c, errors.New("no source"), new(time.Now().Add(time.Hour)))
		ended <- err
	}()
	o.end(t)
	for range 2 {
		if err := receive(t, "the end of the outage", ended); err != nil {
			t.Error(err)
		}
	}
	if got := o.Row(t, "claimed"); !is(got.Claim, (<-claimed).ID) || got.Attempts != 1 {
		t.Errorf("got %+v", got)
	}
	if got := o.Row(t, "failed"); got.Status != "failed" || got.RetryAt == nil || got.Attempts != 1 {
		t.Errorf("got %+v", got)
	}
}

// A process that ends does not wait for a database that is away, and says
// whether it was stopped or taken for dead.
func TestAnOutageDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"stopped": context.Canceled, "taken for dead": registry.ErrProcessLost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := b.Registry(t)
			c, waiting := claim(t, r, b.Create(t, 1, "x")), b.Create(t, 2, "y")
			away := setup(t)
			away.Exec(t, "DROP TABLE casq.registry CASCADE") // each statement is refused
			r.SetPool(away.Pool)
			ended := make(chan error, 2)
			go func() { ended <- r.Publish(c, registry.Result{}, nil) }()
			go func() {
				_, err := r.Claim(context.Background(), waiting, 7)
				ended <- err
			}()
			r.Process().End(cause)
			for range 2 {
				if err := receive(t, "the end", ended); !errors.Is(err, cause) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}
