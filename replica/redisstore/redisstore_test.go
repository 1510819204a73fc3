package redisstore_test

import (
	"errors"
	"testing"
	"time"

	"casq/internal/testing/expect"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

func TestMain(m *testing.M) { testdb.Main(m) }

var (
	a = replica.Object{Namespace: "project", ID: "a"}
	b = replica.Object{Namespace: "project", ID: "b\x00\xff;"}
)

func at(lsn uint64) replica.Position { return replica.Position{Timeline: 7, LSN: lsn} }

func read(t *testing.T, s *redisstore.Store, objects ...replica.Object) replica.Known {
	t.Helper()
	known, err := s.Read(t.Context(), objects)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

var must = expect.NoError

// ready gives the tags of objects a floor of the present position.
func ready(t *testing.T, s *redisstore.Store, present replica.Position, objects ...replica.Object) {
	t.Helper()
	must(t, s.Raise(t.Context(), objects, present, read(t, s, objects...).Claim))
	if known := read(t, s, objects...); len(known.Unready) != 0 {
		t.Fatalf("not ready: %+v", known)
	}
}

// stores are the kinds of Redis that a store works with.
func stores(t *testing.T, test func(t *testing.T, s *redisstore.Store)) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, redisstore.New(testredis.Client(t, testredis.Start(t)), redisstore.Options{Timeout: 10 * time.Second}))
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		test(t, redisstore.New(testredis.Client(t, testredis.StartSentinel(t)), redisstore.Options{Timeout: 10 * time.Second}))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		cluster := testredis.StartCluster(t, servers.RedisClusterOptions{})
		test(t, redisstore.New(testredis.Client(t, cluster), redisstore.Options{Timeout: 10 * time.Second}))
	})
}

func TestPositionsMoveForward(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *redisstore.Store) {
		ctx := t.Context()
		if known := read(t, s, a, b); len(known.Unready) != 2 {
			t.Errorf("an empty store is ready for all but %v", known.Unready)
		}
		must(t, s.Raise(ctx, nil, at(50), ""))
		if known := read(t, s, a, b); len(known.Unready) != 2 {
			t.Error("a floor that is not the present position made an empty store ready")
		}
		must(t, s.Raise(ctx, []replica.Object{a, b}, at(100), read(t, s, a, b).Claim))
		if known := read(t, s, a, b); len(known.Unready) != 0 || known.Position != at(100) || !known.FromFloor {
			t.Errorf("after the floor was raised: %+v", known)
		}
		must(t, s.End(ctx, []replica.Object{a}, "", at(200)))
		must(t, s.End(ctx, []replica.Object{a}, "", at(150)))
		if known := read(t, s, a); known.Position != at(200) || known.FromFloor {
			t.Errorf("200, then 150: %+v", known)
		}
		must(t, s.Raise(ctx, nil, at(180), ""))
		if known := read(t, s, a, b); known.Position != at(200) {
			t.Errorf("a floor of 180 took 200 away: %+v", known)
		}
		must(t, s.Raise(ctx, nil, at(250), ""))
		must(t, s.Raise(ctx, nil, at(240), ""))
		if known := read(t, s, a); known.Position != at(250) || !known.FromFloor {
			t.Errorf("a floor of 250: %+v", known)
		}
		older := replica.Position{Timeline: 6, LSN: 1 << 60}
		must(t, s.End(ctx, []replica.Object{a}, "", older))
		if known := read(t, s, a); known.Position != at(250) {
			t.Errorf("a position of an older timeline: %+v", known)
		}
	})
}

func TestMarks(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *redisstore.Store) {
		ctx := t.Context()
		both := []replica.Object{a, b}
		ready(t, s, at(1), both...)
		must(t, s.Begin(ctx, both, "1", 7, 4711))
		must(t, s.Begin(ctx, []replica.Object{a}, "11", 7, 4712))
		if known := read(t, s, both...); len(known.Writing) != 3 || known.Writing[0].XID == 0 || known.Writing[0].Timeline != 7 {
			t.Errorf("three marks: %+v", known.Writing)
		}
		must(t, s.End(ctx, both, "1", at(5)))
		if known := read(t, s, both...); len(known.Writing) != 1 || known.Writing[0].ID != "11" || known.Writing[0].Object != a || known.Position != at(5) {
			t.Errorf("the other's mark: %+v", known)
		}
		must(t, s.End(ctx, []replica.Object{a}, "11", replica.Position{}))
		if known := read(t, s, both...); len(known.Writing) != 0 || known.Position != at(5) {
			t.Errorf("after a rollback: %+v", known)
		}
	})
}

func TestARedisThatIsAway(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t)
	s := redisstore.New(testredis.Client(t, server), redisstore.Options{})
	ready(t, s, at(1), a, b)
	must(t, server.Freeze())
	for range 2 {
		_, err := s.Read(t.Context(), []replica.Object{a, b})
		partial, ok := errors.AsType[*replica.PartialError](err)
		if !ok || len(partial.Objects) != 2 {
			t.Errorf("a Redis that hangs: %v", err)
		}
	}
	must(t, server.Thaw())
}

// TestARestart: what a server read from its dump is not its own memory.
func TestARestart(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t)
	s := redisstore.New(testredis.Client(t, server), redisstore.Options{Timeout: 10 * time.Second, Rest: time.Nanosecond})
	ready(t, s, at(1), a, b)
	if _, err := server.Do(t.Context(), "SAVE"); err != nil {
		t.Fatal(err)
	}
	must(t, server.Kill())
	testredis.Restart(t, server)
	known := read(t, s, a)
	if known.Position != at(1) {
		t.Fatal("the server has not read its dump: the test shows nothing")
	}
	if len(known.Unready) != 1 {
		t.Errorf("a floor of a dump counts: %+v", known)
	}
	ready(t, s, at(1), a)
	if known := read(t, s, a); len(known.Unready) != 0 {
		t.Errorf("a floor that was raised anew does not count: %+v", known)
	}
}

// wipe takes an object's hash away, as FLUSHALL, or its eviction, does.
func wipe(t *testing.T, s *redisstore.Store, object replica.Object) {
	t.Helper()
	client, key := redisstore.KeyOf(s, object)
	must(t, client.Del(t.Context(), key).Err())
}
