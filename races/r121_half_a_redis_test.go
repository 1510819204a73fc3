package races

import (
	"errors"
	"fmt"
	"slices"
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
	store := redisstore.New(testredis.Client(t, cluster), redisstore.Options{Timeout: time.Second, Rest: time.Hour})
	db := r.open(t, replica.Options{Store: store, Wait: -1})
	var all []replica.Object
	for i := range 40 {
		id := fmt.Sprint(i)
		r.naiveWrite(t, id, "old")
		all = append(all, document(id))
	}
	r.CatchUp(t)
	standbyAgain(t, func() *replica.Session { return db.Session(all...) }, "0", "old")
	must(t, cluster.Masters[0].Freeze())
	defer func() { must(t, cluster.Masters[0].Thaw()) }()

	t.Run("twin/one call for all", func(t *testing.T) {
		if _, err := store.Read(t.Context(), all); err == nil {
			t.Error("the store has answered for all objects")
		}
	})
	t.Run("ours", func(t *testing.T) {
		_, err := store.Read(t.Context(), all)
		partial, ok := errors.AsType[*replica.PartialError](err)
		if !ok || len(partial.Objects) == 0 || len(partial.Objects) == len(all) {
			t.Fatalf("a third of the cluster is away: %v", err)
		}
		began := time.Now()
		for _, object := range all {
			choice := wantBody(t, db.Session(object), object.ID, "old")
			if away := slices.Contains(partial.Objects, object); choice.Reason.Standby() == away {
				t.Errorf("%s, away %v: %s", object, away, choice)
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("40 reads took %s: each paid the time-out", took)
		}
	})
}
