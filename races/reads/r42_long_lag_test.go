package reads

import (
	"errors"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/redis/go-redis/v9"
)

// TestR42LongLag: a standby is later than any key lives. What was written is still
// not read from it.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR42LongLag(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	client, store := newPositions(t)
	db := r.open(t, replica.Options{Store: store(), Wait: -1})
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	standbyAgain(t, func() *replica.Session { return db.Session(document("a")) }, "a", "old")
	r.Pause(t)

	t.Run("twin/a key that expires", func(t *testing.T) {
		must(t, client.Set(t.Context(), "twin", int64(r.naiveWrite(t, "a", "twin")), time.Millisecond).Err())
		replicatest.Until(t, "the key has expired", func() error {
			if err := client.Get(t.Context(), "twin").Err(); !errors.Is(err, redis.Nil) {
				return errors.Join(errors.New("it is still there"), err)
			}
			return nil
		})
		// No key, so nothing was written, and any host will do.
		if got := body(t, r.standby[0], "a"); got == "twin" {
			t.Error("the standby is not stale")
		}
	})
	t.Run("ours", func(t *testing.T) {
		sessionWrite(t, db.Session(document("a")), "a", "new")
		keys, err := client.Keys(t.Context(), "replica:*").Result()
		must(t, err)
		if len(keys) == 0 {
			t.Fatal("the store has no keys")
		}
		for _, key := range keys {
			if left := client.PTTL(t.Context(), key).Val(); left != -1 {
				t.Errorf("%s expires in %s", key, left)
			}
		}
		for range 10 {
			wantPrimary(t, wantBody(t, db.Session(document("a")), "a", "new"))
		}
	})
}
