package counter_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/internal/countertest"
	"casq/internal/pause"
	"casq/internal/testing/long"
)

// Two databases that share a Redis count side by side: neither waits for the
// other's lease, nor takes its deltas.
func TestTwoHomesShareARedis(t *testing.T) {
	long.Test(t)
	t.Parallel()
	first := countertest.New(t)
	second := countertest.New(t)
	second.Use(func(s *countertest.Settings) { s.Redis = first.Redis })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	for i, b := range []*countertest.Bundle{first, second} {
		group.Go(func() { b.Run(ctx) })
		b.Exec(t, "INSERT INTO artifacts VALUES (1, 7, $1)", int64(i+1))
		b.Tick(t)
	}
	for i, b := range []*countertest.Bundle{first, second} {
		b.Until(t, func() bool {
			v, err := b.Get(t.Context(), counter.Key{Kind: "artifact", ScopeID: "7"})
			return err == nil && v.Live && v.Size.Int64() == int64(i+1) && v.Items == 1
		})
	}
}

// A Redis that takes no writes, or throws away what it likes, is not used.
func TestUnfitRedis(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(b *countertest.Bundle, ctx context.Context) error{
		"full": func(b *countertest.Bundle, ctx context.Context) error {
			return b.Redis.ConfigSet(ctx, "maxmemory", "1").Err()
		},
		"evicts": func(b *countertest.Bundle, ctx context.Context) error {
			return b.Redis.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err()
		},
		"read-only": func(b *countertest.Bundle, ctx context.Context) error {
			return b.Redis.ReplicaOf(ctx, "127.0.0.1", "1").Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := countertest.New(t)
			b.Exec(t, "INSERT INTO artifacts SELECT n, n % 4, 10 FROM generate_series(1, 20) AS n")
			b.Feed(t) // in Redis, and not flushed
			if err := spoil(b, t.Context()); err != nil {
				t.Fatal(err)
			}
			b.Exec(t, "INSERT INTO artifacts SELECT n, n % 4, 10 FROM generate_series(21, 40) AS n")
			b.Tick(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); b.Run(ctx) }()
			defer func() { cancel(); <-ended }()
			deadline := time.Now().Add(30 * time.Second)
			for !maps.Equal(b.Flushed(t), b.Real(t)) {
				if time.Now().After(deadline) {
					t.Fatalf("flushed %v, the table has %v", b.Flushed(t), b.Real(t))
				}
				_ = pause.For(t.Context(), 50*time.Millisecond)
			}
		})
	}
}
