package replica_test

import (
	"testing"
	"time"

	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestWhatOthersWrote: a session of another process, which shares nothing with the
// writer's but the store, reads what was written to the objects that it watches.
func TestWhatOthersWrote(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2)
	redis := testredis.Client(t, testredis.Start(t))
	open := func() *replica.DB {
		return b.open(t, replica.Options{Store: redisstore.New(redis, redisstore.Options{Timeout: 10 * time.Second})})
	}
	writer, reader := open(), open()
	one, two := replica.Object{Namespace: "document", ID: "a"}, replica.Object{Namespace: "document", ID: "b"}
	write(t, writer.Session(one, two), "one")
	for i := range b.cluster.Standbys {
		if err := b.cluster.Standbys[i].WaitReplayed(t.Context(), b.cluster.Primary); err != nil {
			t.Fatal(err)
		}
	}
	three := replica.Object{Namespace: "document", ID: "c"}
	// A store that was never asked has no floors: they begin at the present position.
	until(t, "standbys serve", func() error { return standbyServes(t, reader.Session(one, two, three), "one") })
	b.pause(t, 0, 1)
	write(t, writer.Session(one, two), "two")
	for _, watched := range [][]replica.Object{{one}, {two}, {one, two}} {
		s := reader.Session(watched...)
		if got := read(t, s); got != "two" {
			t.Errorf("%v: read %q\n%s", watched, got, s.Explain())
		}
		wantReason(t, s, replica.NoneCaughtUp, replica.Floor)
	}
	other := reader.Session(three)
	read(t, other)
	wantReason(t, other, replica.CaughtUp)
	b.resume(t, 0, 1)
	until(t, "standbys serve", func() error { return standbyServes(t, reader.Session(one, two), "two") })
}
