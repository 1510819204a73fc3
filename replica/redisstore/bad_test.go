package redisstore_test

import (
	"errors"
	"fmt"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestAnUnfitRedis: what the store cannot keep, or understand, is an error, and never
// "nothing there"; when the cause is gone, it works.
func TestAnUnfitRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t)
	client, s := testredis.Client(t, server), open(t, server)
	_, key := redisstore.KeyOf(s, a)
	set := func(name, value string) func() {
		return func() { do(t, server, "CONFIG", "SET", name, value) }
	}
	for _, c := range []struct {
		name       string
		spoil      func()
		mend       func()
		unreadable bool
	}{
		{"another kind of key", func() { do(t, server, "SET", key, "x") }, func() { do(t, server, "DEL", key) }, true},
		{"a floor of another program", func() { do(t, server, "HSET", key, "floor", "x") }, func() { do(t, server, "DEL", key) }, true},
		{"full", set("maxmemory", "1"), set("maxmemory", "0"), false},
		{"too few replicas to write", set("min-replicas-to-write", "1"), set("min-replicas-to-write", "0"), false},
	} {
		must(t, client.FlushAll(t.Context()).Err())
		ready(t, s, at(10), a)
		must(t, s.End(t.Context(), []replica.Object{a}, "", at(20)))
		c.spoil()
		known, err := s.Read(t.Context(), []replica.Object{a})
		partial, lost := errors.AsType[*replica.PartialError](err)
		switch {
		case err == nil && (c.unreadable || known.Position != at(20)):
			t.Errorf("%s: read %+v", c.name, known)
		case err != nil && (!lost || len(partial.Objects) != 1):
			t.Errorf("%s: %v", c.name, err)
		}
		if err := s.Begin(t.Context(), []replica.Object{a}, "1", 7, 4711); err == nil && c.name != "a floor of another program" {
			t.Errorf("%s: a mark was set", c.name)
		}
		c.mend()
		ready(t, s, at(30), a)
	}
}

// TestThousandsOfObjects: many objects are read, marked and merged in bounded calls.
func TestThousandsOfObjects(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *redisstore.Store) {
		var many []replica.Object
		for i := range 20_000 {
			many = append(many, replica.Object{Namespace: "many", ID: fmt.Sprint(i)})
		}
		ready(t, s, at(1), many...)
		must(t, s.Begin(t.Context(), many, "1", 7, 4711))
		if known := read(t, s, many...); len(known.Writing) != len(many) {
			t.Errorf("%d of %d are marked", len(known.Writing), len(many))
		}
		must(t, s.End(t.Context(), many, "1", at(5)))
		if known := read(t, s, many...); len(known.Writing) != 0 || known.Position != at(5) {
			t.Errorf("%d are marked, at %v", len(known.Writing), known.Position)
		}
		must(t, s.Raise(t.Context(), nil, at(5), ""))
		client, key := redisstore.KeyOf(s, many[0])
		if n := client.HLen(t.Context(), key).Val(); n != 2 {
			t.Errorf("%d fields are left beside floor and identity", n-2)
		}
	})
}

// TestASweepIsBounded: many positions are dropped in several goes, each of which holds
// up the server for a bounded time, and at last all are.
func TestASweepIsBounded(t *testing.T) {
	long.Test(t)
	t.Parallel()
	server := testredis.Start(t)
	client, s := testredis.Client(t, server), open(t, server)
	ready(t, s, at(1), a)
	_, key := redisstore.KeyOf(s, a)
	const many = 200_000
	for i := range many / 1000 {
		fields := make([]any, 0, 2000)
		for k := range 1000 {
			fields = append(fields, fmt.Sprintf("p%016d", 1000*i+k), fmt.Sprintf("%019d%020d", 7, 1))
		}
		must(t, client.HSet(t.Context(), key, fields...).Err())
	}
	left := int64(many)
	for round := 0; left > 0; round++ {
		must(t, s.Raise(t.Context(), nil, at(5), ""))
		now := client.HLen(t.Context(), key).Val() - 2 // Floor and identity.
		if dropped := left - now; dropped <= 0 || dropped > many*3/4 {
			t.Fatalf("round %d dropped %d of %d", round, dropped, left)
		}
		left = now
	}
}
