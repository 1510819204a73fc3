package counter_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/internal/buffer"
	"casq/counter/internal/countertest"
	"casq/counter/internal/tally"
	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
)

// A master is lost, and its replica was cut off before: what was pending, frozen
// or flushed since then is not there any more, or there again. It is replayed,
// or dropped; nothing is lost, nothing counts twice, and nothing is recounted.
func playFailovers(t *testing.T, cluster *servers.RedisCluster) {
	c := setupCluster(t, cluster)
	for i, since := range []string{"pending", "frozen", "flushed"} {
		f := &failover{c, cluster.Masters[i], cluster.Replicas[i], nil}
		f.promote = func(ctx context.Context) error { return cluster.Promote(ctx, f.replica) }
		f.play(t, since)
	}
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := testredis.StartSentinel(t)
	c := &clustered{}
	c.use(t, countertest.On(t, s))
	(&failover{c, s.Master, s.Replica, s.Failover}).play(t, "flushed")
}

type failover struct {
	*clustered
	master, replica *servers.Redis
	promote         func(context.Context) error
}

func (f *failover) play(t *testing.T, since string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(since, err)
		}
	}
	f.change(t)
	must(f.buffers(t))
	f.Until(t, func() bool { return offset(ctx, f.master) == offset(ctx, f.replica) })
	must(f.master.Cut(ctx, f.replica))
	f.change(t)
	must(f.buffers(t))
	switch since {
	case "frozen":
		for shard := range f.shards {
			_, err := f.buf.Freeze(ctx, shard)
			must(err)
		}
	case "flushed":
		f.FlushAll(t)
	}
	before, err := f.buf.ReadStamps(ctx, tally.All(f.shards))
	must(err)
	must(f.master.Kill())
	must(f.promote(ctx))
	var after map[int]buffer.Stamps
	f.Until(t, func() bool {
		after, err = f.buf.ReadStamps(ctx, tally.All(f.shards))
		return err == nil
	})
	if maps.Equal(before, after) {
		t.Fatalf("%s: the replica lacks nothing", since)
	}
	f.change(t)
	f.Until(t, func() bool { return f.buffers(t) == nil })
	f.right(t)
	var recounts int
	err = f.Pool.QueryRow(ctx, "SELECT count(*) FROM casq.refreshes").Scan(&recounts)
	if err != nil || recounts != 0 {
		t.Errorf("%s: %d recounts, %v", since, recounts, err)
	}
}

// offset is how far a server is in what it has, or was given by its master.
func offset(ctx context.Context, r *servers.Redis) string {
	reply, err := r.Do(ctx, "INFO", "replication")
	if err != nil {
		return err.Error()
	}
	all, _ := reply.(string)
	_, after, _ := strings.Cut(all, "master_repl_offset:")
	n, _, _ := strings.Cut(after, "\r")
	return n
}

// One master is away and nobody takes its place. Everything goes to Postgres
// then, and nothing waits for it; when it is back, all is in Redis again.
func TestMasterAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]struct {
		goes, comes func(*servers.Redis) error
		settings    map[string]string
	}{
		"killed, the others serve": {
			(*servers.Redis).Kill, func(r *servers.Redis) error { return r.Start(t.Context()) },
			map[string]string{"cluster-require-full-coverage": "no", "cluster-node-timeout": "2000"},
		},
		"frozen": {(*servers.Redis).Freeze, (*servers.Redis).Thaw, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCluster(t, testredis.StartCluster(t, servers.RedisClusterOptions{Settings: away.settings}))
			c.Bundle.Use(func(s *countertest.Settings) { s.AskAgain = 200 * time.Millisecond })
			_, third := c.slot(t, 0)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); c.Run(ctx) }()
			defer func() { cancel(); <-ended }()
			c.change(t)
			c.Until(t, func() bool { return c.allLive(t) })
			lost := c.in(t, third)
			if err := away.goes(c.cluster.Masters[third]); err != nil {
				t.Fatal(err)
			}
			c.countWithout(t)
			within(t, 3*buffer.AnswerIn, "a flush", func() {
				if _, err := c.Flush(t.Context()); !errors.Is(err, buffer.ErrRedis) {
					t.Errorf("flushed without a master: %v", err)
				}
			})
			within(t, 3*buffer.AnswerIn, "a read", func() { c.readsFlushed(t, lost) })
			// That Redis is asked again and again holds up nothing.
			within(t, 2*buffer.AnswerIn, "four changes", func() {
				for range 4 {
					c.countWithout(t)
				}
			})
			if err := away.comes(c.cluster.Masters[third]); err != nil {
				t.Fatal(err)
			}
			c.change(t)
			c.Until(t, func() bool { return c.allLive(t) })
		})
	}
}

// countWithout makes a change and waits until Postgres has it.
func (c *clustered) countWithout(t *testing.T) {
	t.Helper()
	c.change(t)
	c.Until(t, func() bool { return maps.Equal(c.Flushed(t), c.Real(t)) })
}

// in returns a counter that a third of the slots has.
func (c *clustered) in(t *testing.T, third int) counter.Key {
	t.Helper()
	for scope := range c.Real(t) {
		k := counter.Key{Kind: "artifact", ScopeID: scope}
		if _, at := c.slot(t, tally.ShardOf(k, c.shards)); at == third {
			return k
		}
	}
	t.Fatal("no counter is there")
	return counter.Key{}
}

// readsFlushed reads a counter that Redis has not got.
func (c *clustered) readsFlushed(t *testing.T, k counter.Key) {
	t.Helper()
	v, err := c.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := (countertest.Pair{v.Size.Int64(), v.Items}), c.Real(t)[k.ScopeID]; v.Live || got != want {
		t.Errorf("read %v, live: %v; want %v as it was flushed", got, v.Live, want)
	}
}

// within is far more than f needs, and less than it takes when it waits for a
// server again and again.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > limit {
		t.Errorf("%s took %s", what, took)
	}
}

// allLive tells whether all counters are right, with what Redis has.
func (c *clustered) allLive(t *testing.T) bool {
	t.Helper()
	for scope, want := range c.Real(t) {
		v, err := c.Get(t.Context(), counter.Key{Kind: "artifact", ScopeID: scope})
		if err != nil || !v.Live || (countertest.Pair{v.Size.Int64(), v.Items}) != want {
			return false
		}
	}
	return true
}
