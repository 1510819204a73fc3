package replica_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestWhatOthersWrote: a session of another process, which shares nothing with the
// writer's but the store, reads what was written to the objects that it watches.
func TestWhatOthersWrote(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 2)
	redis := testredis.Client(t, testredis.Start(t))
	open := func() *replica.DB {
		return b.Open(t, replica.Options{Store: redisstore.New(redis, redisstore.Options{Timeout: 10 * time.Second})})
	}
	writer, reader := open(), open()
	one, two := replica.Object{Namespace: "document", ID: "a"}, replica.Object{Namespace: "document", ID: "b"}
	write(t, writer.Session(one, two), "one")
	for i := range b.Cluster.Standbys {
		if err := b.Cluster.Standbys[i].WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
			t.Fatal(err)
		}
	}
	three := replica.Object{Namespace: "document", ID: "c"}
	// A store that was never asked has no floors: they begin at the present position.
	replicatest.Until(t, "standbys serve", func() error { return standbyServes(t, reader.Session(one, two, three), "one") })
	b.Pause(t)
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
	b.Resume(t)
	replicatest.Until(t, "standbys serve", func() error { return standbyServes(t, reader.Session(one, two), "two") })
}

// deaf is a store that was cut off from its writer: it fails what is told to it, and
// answers reads.
type deaf struct {
	replica.Store
	cut atomic.Bool
}

var errDeaf = errors.New("cut off")

func (d *deaf) Begin(ctx context.Context, objects []replica.Object, id string, timeline int64, xid uint64) error {
	if d.cut.Load() {
		return errDeaf
	}
	return d.Store.Begin(ctx, objects, id, timeline, xid)
}

func (d *deaf) End(ctx context.Context, objects []replica.Object, id string, at replica.Position) error {
	if d.cut.Load() {
		return errDeaf
	}
	return d.Store.End(ctx, objects, id, at)
}

func (d *deaf) Raise(ctx context.Context, objects []replica.Object, to replica.Position, claim string) error {
	if d.cut.Load() {
		return errDeaf
	}
	return d.Store.Raise(ctx, objects, to, claim)
}

// TestDebt: what the store was not told is not believed of it by the process that
// knows; with Strict it is not committed.
func TestDebt(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	client := testredis.Client(t, testredis.Start(t))
	store := &deaf{Store: redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})}
	one, two := replica.Object{Namespace: "document", ID: "a"}, replica.Object{Namespace: "document", ID: "b"}
	db := b.Open(t, replica.Options{Store: store, Wait: -1})
	strict := b.Open(t, replica.Options{Store: store, Wait: -1, Strict: true})
	write(t, db.Session(one), "one")
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, db.Session(one, two), "one") })
	b.Pause(t, 0)
	store.cut.Store(true)

	refused := strict.Session(one)
	if _, err := refused.Write().Exec(t.Context(), "UPDATE documents SET body = 'refused'"); !errors.Is(err, replica.ErrStoreAway) {
		t.Errorf("a commit that was not noted first: %v", err)
	}
	write(t, db.Session(one), "two")
	if got := db.Counts(); got.Unmarked != 1 {
		t.Errorf("%d commits are counted as not noted, want 1", got.Unmarked)
	}
	for range 5 {
		s := db.Session(one)
		if got := read(t, s); got != "two" {
			t.Errorf("read %q\n%s", got, s.Explain())
		}
		wantReason(t, s, replica.StoreAway)
	}
	other := db.Session(two)
	read(t, other)
	wantReason(t, other, replica.CaughtUp)

	store.cut.Store(false)
	b.Resume(t, 0)
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, db.Session(one), "two") })
}

// half is a store of which a part is away: raising the floor of one object fails.
type half struct {
	*deaf
	away replica.Object
	cut  atomic.Bool
}

func (h *half) Raise(ctx context.Context, objects []replica.Object, to replica.Position, claim string) error {
	if !h.cut.Load() || !slices.Contains(objects, h.away) {
		return h.deaf.Raise(ctx, objects, to, claim)
	}
	here := slices.DeleteFunc(slices.Clone(objects), func(o replica.Object) bool { return o == h.away })
	if len(here) > 0 {
		if err := h.deaf.Raise(ctx, here, to, claim); err != nil {
			return err
		}
	}
	return &replica.PartialError{Objects: []replica.Object{h.away}, Err: errDeaf}
}

// TestPartOfADebt: what the store was not told of one object stays owed when only the
// others' could be paid.
func TestPartOfADebt(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	client := testredis.Client(t, testredis.Start(t))
	one, two := replica.Object{Namespace: "document", ID: "a"}, replica.Object{Namespace: "document", ID: "b"}
	store := &half{deaf: &deaf{Store: redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})}, away: two}
	db := b.Open(t, replica.Options{Store: store, Wait: -1})
	write(t, db.Session(one, two), "one")
	replicatest.Until(t, "the standby serves", func() error { return standbyServes(t, db.Session(one, two), "one") })
	store.deaf.cut.Store(true)
	store.cut.Store(true)
	write(t, db.Session(one, two), "two")
	store.deaf.cut.Store(false)
	replicatest.Until(t, "the standby serves one", func() error { return standbyServes(t, db.Session(one), "two") })
	for range 3 {
		s := db.Session(two)
		if got := read(t, s); got != "two" {
			t.Errorf("read %q", got)
		}
		wantReason(t, s, replica.StoreAway)
	}
	store.cut.Store(false)
	replicatest.Until(t, "the standby serves two", func() error { return standbyServes(t, db.Session(two), "two") })
}
