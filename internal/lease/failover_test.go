package lease

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
)

// hang is many times what an attempt may take, and less than one that waits for
// as long as go-redis does.
const hang = 2500 * time.Millisecond

// On a Cluster and behind a Sentinel, the master with the lease is lost and so is
// the lease, since the replica was cut off. While nobody is the master each
// attempt ends in time, without a yes; afterwards one process has the lease, and
// the other knows.
func TestLeaseIsLostInAFailover(t *testing.T) {
	t.Parallel()
	for how, start := range map[string]func(*testing.T) *failover{"cluster": onCluster, "sentinel": behindSentinel} {
		for end, kill := range map[string]func(*servers.Redis) error{
			"killed": (*servers.Redis).Kill,
			"frozen": (*servers.Redis).Freeze,
		} {
			t.Run(how+"/"+end, func(t *testing.T) {
				t.Parallel()
				start(t).play(t, kill)
			})
		}
	}
}

// failover is a master that has the lease, and its replica.
type failover struct {
	url             interface{ URL() string }
	master, replica *servers.Redis
	promote         func(context.Context) error
}

func onCluster(t *testing.T) *failover {
	// The lease's slot is the third master's.
	c := testredis.StartCluster(t, servers.RedisClusterOptions{Replicas: 3})
	f := &failover{url: c, master: c.Masters[2], replica: c.Replicas[2]}
	f.promote = func(ctx context.Context) error { return c.Promote(ctx, f.replica) }
	return f
}

func behindSentinel(t *testing.T) *failover {
	s := testredis.StartSentinel(t)
	return &failover{url: s, master: s.Master, replica: s.Replica, promote: s.Failover}
}

func (f *failover) play(t *testing.T, kill func(*servers.Redis) error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	one := New(Config{Client: testredis.Client(t, f.url), TTL: short})
	two := New(Config{Client: testredis.Client(t, f.url), TTL: short})
	must(f.master.Cut(ctx, f.replica))
	first := obtain(t, one, slog.DiscardHandler)
	wantDenied(t, two, one)
	f.wantKeys(ctx, t, f.master, 1)

	must(kill(f.master))
	fastest := time.Hour
	for range 3 {
		began := time.Now()
		if _, err := two.Obtain(ctx, name, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrUnknown) {
			t.Errorf("obtained from nobody with %v, want it unknown", err)
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest > hang {
		t.Errorf("each attempt took %s or more", fastest)
	}
	f.wantKeys(ctx, t, f.replica, 0)
	must(f.replica.Mend(ctx))
	must(f.promote(ctx))
	f.decide(ctx, t, first, two)
}

func (f *failover) wantKeys(ctx context.Context, t *testing.T, r *servers.Redis, want int64) {
	t.Helper()
	if n, err := r.Do(ctx, "DBSIZE"); err != nil || n != want {
		t.Errorf("a server has %v keys, %v, want %d", n, err, want)
	}
}

// decide waits until one of two has the lease, and the other knows.
func (f *failover) decide(ctx context.Context, t *testing.T, first *Lease, two *Leaser) {
	t.Helper()
	var second *Lease
	until(t, "somebody has the lease", func() (known bool) {
		var err error
		second, err = two.Obtain(ctx, name, slog.New(slog.DiscardHandler))
		return err == nil || errors.Is(err, ErrHeld)
	})
	want := first.leaser.ID()
	if second != nil {
		want = two.ID()
		defer func() { _ = second.Release(context.Background()) }()
		select {
		case <-first.Lost():
		case <-time.After(patience):
			t.Fatal("two go on with one lease")
		}
	}
	if holder, err := f.replica.Do(ctx, "GET", key(name)); err != nil || holder != want {
		t.Errorf("%v has the lease, %v, want %s", holder, err, want)
	}
}
