package redisstore_test

import (
	"fmt"
	"testing"
	"time"

	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// BenchmarkRead reads positions, beside a bare GET.
func BenchmarkRead(b *testing.B) {
	client := testredis.Client(b, testredis.Start(b))
	s := redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})
	var objects []replica.Object
	for i := range 10 {
		objects = append(objects, replica.Object{Namespace: "bench", ID: fmt.Sprint(i)})
	}
	known, err := s.Read(b.Context(), objects)
	if err == nil {
		err = s.Raise(b.Context(), objects, at(1), known.Claim)
	}
	if err == nil {
		err = client.Set(b.Context(), "bare", "value", 0).Err()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			if err := client.Get(b.Context(), "bare").Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if known, err := s.Read(b.Context(), objects[:n]); err != nil || len(known.Unready) > 0 {
					b.Fatal(known, err)
				}
			}
		})
	}
}
