package reads

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"
)

// TestR121HalfARedis: one node of a Cluster hangs. Only its objects are read from the
// primary, and its time-out is paid once.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR121HalfARedis(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	cluster := testredis.StartCluster(t, servers.RedisClusterOptions{})
	open := func(rest time.Duration) *redisstore.Store {
		return redisstore.New(testredis.Client(t, cluster), redisstore.Options{Timeout: timeoutOf121, Rest: rest})
	}
	var all []replica.Object
	for i := range 40 {
		id := fmt.Sprint(i)
		r.naiveWrite(t, id, "old")
		all = append(all, document(id))
	}
	r.CatchUp(t)
	naive, forgetful, store := &wholeStore{Store: open(time.Hour)}, open(time.Nanosecond), open(time.Hour)
	through := make(map[replica.Store]*replica.DB)
	for _, s := range []replica.Store{naive, forgetful, store} {
		through[s] = r.open(t, replica.Options{Store: s, Wait: -1})
		standbyAgain(t, func() *replica.Session { return through[s].Session(all...) }, "0", "old")
	}
	must(t, cluster.Masters[0].Freeze())
	defer func() { must(t, cluster.Masters[0].Thaw()) }()
	_, err := forgetful.Read(t.Context(), all)
	partial, ok := errors.AsType[*replica.PartialError](err)
	if !ok || len(partial.Objects) < 3 || len(partial.Objects) > 20 {
		t.Fatalf("a third of the cluster is away: %v", err)
	}
	away := func(object replica.Object) bool { return slices.Contains(partial.Objects, object) }

	t.Run("twin/away is away for all", func(t *testing.T) {
		wantBody(t, through[naive].Session(partial.Objects[0]), partial.Objects[0].ID, "old")
		for _, object := range all {
			if choice := wantBody(t, through[naive].Session(object), object.ID, "old"); choice.Reason != replica.StoreAway {
				t.Errorf("%s, whose node may be there: %s", object, choice)
			}
		}
	})
	t.Run("twin/a time-out for each request", func(t *testing.T) {
		for _, object := range partial.Objects[:3] {
			began := time.Now()
			wantBody(t, through[forgetful].Session(object), object.ID, "old")
			if took := time.Since(began); took < timeoutOf121 {
				t.Errorf("a read of what is away took %s: it has not asked", took)
			}
		}
	})
	t.Run("ours", func(t *testing.T) {
		began := time.Now()
		for _, object := range all {
			choice := wantBody(t, through[store].Session(object), object.ID, "old")
			if choice.Reason.Standby() == away(object) {
				t.Errorf("%s, away %v: %s", object, away(object), choice)
			}
		}
		// Tags are what rests, and a third of the sixteen is away.
		if took, each := time.Since(began), time.Duration(len(partial.Objects))*timeoutOf121; took >= each {
			t.Errorf("40 reads took %s: %d of them paid a time-out of %s", took, len(partial.Objects), timeoutOf121)
		}
	})
}

const timeoutOf121 = time.Second

// wholeStore is there or not: an error of a part is one of the whole, and is remembered so.
type wholeStore struct {
	replica.Store
	away atomic.Bool
}

var errWhole = errors.New("the store did not answer a moment ago")

func (s *wholeStore) Read(ctx context.Context, objects []replica.Object) (replica.Known, error) {
	if s.away.Load() {
		return replica.Known{}, errWhole
	}
	known, err := s.Store.Read(ctx, objects)
	if err != nil {
		s.away.Store(true)
		return replica.Known{}, errWhole
	}
	return known, nil
}
