package redisstore_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestSweepBesideWrites: a floor is raised by one call, and what lies below it is dropped by
// others, part by part, while the floor goes on moving and positions are merged. What lies
// above the floor stays, and in the end nothing else is left.
func TestSweepBesideWrites(t *testing.T) {
	long.Test(t)
	t.Parallel()
	client := testredis.Client(t, testredis.Start(t))
	s := redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})
	const n, floor = 24_000, 9_000 // Each hash has several parts.
	objects := make([]replica.Object, n)
	for i := range objects {
		objects[i] = replica.Object{Namespace: "project", ID: strconv.Itoa(i)}
	}
	ready(t, s, at(1), objects...)
	newest := make([]uint64, n)
	write := func(i int, lsn uint64) {
		newest[i] = lsn
		if err := s.End(t.Context(), objects[i:i+1], "", at(lsn)); err != nil {
			t.Error(err)
		}
	}
	const groups = 100
	for i := range groups { // By groups, which is quicker, in no order.
		group, lsn := objects[i*n/groups:(i+1)*n/groups], uint64(2+(i*37)%groups*150)
		must(t, s.End(t.Context(), group, "", at(lsn)))
		for j := range group {
			newest[i*n/groups+j] = lsn
		}
	}

	var sweeps sync.WaitGroup
	for range 2 {
		sweeps.Go(func() {
			for to := uint64(1000); to <= floor; to += 2000 {
				if err := s.Raise(t.Context(), nil, at(to), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 3000 {
		write(i*7%n, uint64(15_000+i))
	}
	sweeps.Wait()

	must(t, s.Raise(t.Context(), nil, at(floor), ""))
	keys, want := make(map[string]bool), 0
	for i, object := range objects {
		_, key := redisstore.KeyOf(s, object)
		keys[key] = true
		if newest[i] > floor {
			want++
		}
		if i%11 == 0 {
			if got := read(t, s, object).Position; got != at(max(newest[i], floor)) {
				t.Errorf("%s is at %s, want %d", object, got, max(newest[i], floor))
			}
		}
	}
	left := 0
	for key := range keys {
		fields, err := client.HKeys(t.Context(), key).Result()
		must(t, err)
		for _, field := range fields {
			if strings.HasPrefix(field, "p") {
				left++
			}
		}
	}
	if left != want {
		t.Errorf("%d positions are left, of %d that lie above the floor", left, want)
	}
}
