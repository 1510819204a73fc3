package redisstore_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/redis/go-redis/v9"
)

func do(t *testing.T, server *servers.Redis, args ...any) any {
	t.Helper()
	reply, err := server.Do(t.Context(), args...)
	must(t, err)
	return reply
}

func open(t *testing.T, server interface{ URL() string }) *redisstore.Store {
	t.Helper()
	return redisstore.New(testredis.Client(t, server), redisstore.Options{Timeout: 10 * time.Second, Rest: time.Nanosecond})
}

// TestALateClaim: a process is stopped after it asked the primary for its present
// position. Meanwhile others make the floor ready, write beyond it, and the store is
// wiped. The late call must not make a floor of its old position.
func TestALateClaim(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *redisstore.Store) {
		claim := read(t, s, a).Claim
		ready(t, s, at(100), a)
		must(t, s.End(t.Context(), []replica.Object{a}, "", at(200)))
		wipe(t, s, a)
		if err := s.Raise(t.Context(), []replica.Object{a}, at(100), claim); err == nil {
			t.Error("a claim of before the loss was taken")
		}
		if known := read(t, s, a); len(known.Unready) != 1 {
			t.Errorf("a floor below what was lost is ready: %+v", known)
		}
	})
}

// TestAClaimOfAnotherMemory: likewise, and the store is started again with a dump that has
// the claim, and not what was written after it.
func TestAClaimOfAnotherMemory(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t)
	s := open(t, server)
	claim := read(t, s, a).Claim
	do(t, server, "SAVE")
	ready(t, s, at(100), a)
	must(t, s.End(t.Context(), []replica.Object{a}, "", at(200)))
	must(t, server.Kill())
	testredis.Restart(t, server)
	if err := s.Raise(t.Context(), []replica.Object{a}, at(100), claim); err == nil {
		t.Error("a claim of before the loss was taken")
	}
	if known := read(t, s, a); len(known.Unready) != 1 {
		t.Errorf("a floor below what was lost is ready: %+v", known)
	}
}

// TestAClaimAndADebt: a process could not store a position; it raises the floor, which
// is not ready. Whoever makes it ready, with a position from before, must not undo that.
func TestAClaimAndADebt(t *testing.T) {
	t.Parallel()
	s := open(t, testredis.Start(t))
	claim := read(t, s, a).Claim
	must(t, s.Raise(t.Context(), []replica.Object{a}, at(300), ""))
	must(t, s.Raise(t.Context(), []replica.Object{a}, at(100), claim))
	if known := read(t, s, a); len(known.Unready) != 0 || known.Position != at(300) {
		t.Errorf("the floor that was raised meanwhile: %+v", known)
	}
}

// TestFailoverAndBack: the replica is promoted, told a position, and lost. The old
// master, the same process as ever, has its own floor, and lacks the position.
func TestFailoverAndBack(t *testing.T) {
	t.Parallel()
	group := testredis.StartSentinel(t)
	must(t, group.Sentinel.Kill()) // The test promotes.
	one, two := group.Master, group.Replica
	first, second := open(t, one), open(t, two)
	ready(t, first, at(100), a)
	replicated(t, one)
	do(t, two, "REPLICAOF", "NO", "ONE")
	host, port, _ := two.Address()
	do(t, one, "REPLICAOF", host, port)
	replicated(t, two)
	do(t, one, "REPLICAOF", "127.0.0.1", 1) // The link is cut.
	must(t, second.End(t.Context(), []replica.Object{a}, "", at(200)))
	must(t, two.Kill())
	do(t, one, "REPLICAOF", "NO", "ONE")
	known := read(t, first, a)
	if known.Position != at(100) {
		t.Fatalf("the test shows nothing: the old master has %v", known.Position)
	}
	if len(known.Unready) != 1 {
		t.Errorf("a master that was replaced for a while takes its floor for good: %+v", known)
	}
}

// replicated waits until the replica of a master has everything.
func replicated(t *testing.T, master *servers.Redis) {
	t.Helper()
	do(t, master, "SET", "another", "write")
	until(t, "the replica has everything", func() bool { return do(t, master, "WAIT", 1, 100) == int64(1) })
}

func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	await.True(t, time.Minute, what, met)
}

// TestHalfACluster: one node hangs. What is of the others is read, marked, merged and
// raised; the time-out is paid once.
func TestHalfACluster(t *testing.T) {
	t.Parallel()
	cluster := testredis.StartCluster(t, servers.RedisClusterOptions{})
	s := redisstore.New(testredis.Client(t, cluster), redisstore.Options{Timeout: time.Second, Rest: time.Hour})
	var objects []replica.Object
	for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		objects = append(objects, replica.Object{Namespace: "letter", ID: id})
	}
	ready(t, s, at(1), objects...)
	must(t, cluster.Masters[0].Freeze())
	defer func() { must(t, cluster.Masters[0].Thaw()) }()
	lost := func(what string, err error) []replica.Object {
		partial, ok := errors.AsType[*replica.PartialError](err)
		if !ok || len(partial.Objects) == 0 || len(partial.Objects) == len(objects) {
			t.Fatalf("%s with a third of the cluster away: %v", what, err)
		}
		return partial.Objects
	}
	away := lost("begin", s.Begin(t.Context(), objects, "1", 7, 4711))
	began := time.Now()
	for range 20 {
		known, err := s.Read(t.Context(), objects)
		if n := len(lost("read", err)); n != len(away) || len(known.Writing) != len(objects)-n {
			t.Fatalf("%d of %d are away, %d are marked", n, len(objects), len(known.Writing))
		}
		lost("raise", s.Raise(t.Context(), objects, at(2), ""))
		lost("end", s.End(t.Context(), objects, "1", at(9)))
		lost("begin", s.Begin(t.Context(), objects, "1", 7, 4711))
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("80 calls took %s: each paid the time-out", took)
	}
	if known, _ := s.Read(t.Context(), objects); known.Position != at(9) {
		t.Errorf("the positions of the others: %v", known.Position)
	}
}

// TestAnImpatientStore: a client with its own, long time-outs does not make calls
// longer than the store's.
func TestAnImpatientStore(t *testing.T) {
	t.Parallel()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	client := redis.NewClient(&redis.Options{Addr: silent.Addr().String(), ReadTimeout: time.Minute})
	t.Cleanup(func() {
		_ = client.Close()
		_ = silent.Close()
	})
	s := redisstore.New(client, redisstore.Options{Timeout: 10 * time.Millisecond})
	began := time.Now()
	if _, err := s.Read(t.Context(), []replica.Object{a}); err == nil {
		t.Error("a server that says nothing has answered")
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a call with a time-out of 10 ms took %s", took)
	}
}
