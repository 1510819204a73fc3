package reads

import (
	"errors"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/redis/go-redis/v9"
)

// TestR53LostMemory: the store is told of a write, and loses it: by FLUSHALL, by the
// eviction of what it was kept in, by a restart with an older dump, by a failover to a
// copy without it. The standbys are late.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR53LostMemory(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	group := testredis.StartSentinel(t)
	must(t, group.Sentinel.Kill()) // The test promotes.
	do := func(server *servers.Redis, args ...any) {
		t.Helper()
		_, err := server.Do(t.Context(), args...)
		must(t, err)
	}
	open := func(server *servers.Redis) *replica.DB {
		store := redisstore.New(testredis.Client(t, server), redisstore.Options{Timeout: 10 * time.Second, Rest: time.Nanosecond})
		return r.open(t, replica.Options{Store: store, Wait: -1})
	}
	before := open(group.Master)
	session := func() *replica.Session { return before.Session(document("a")) }

	twinKey := ""
	losses := []struct {
		name  string
		ready func() // before the write
		lose  func() (now *servers.Redis)
	}{
		{"flushed", func() {}, func() *servers.Redis {
			do(group.Master, "FLUSHALL")
			return group.Master
		}},
		{"evicted", func() {}, func() *servers.Redis {
			client := testredis.Client(t, group.Master)
			keys, err := client.Keys(t.Context(), "replica:*").Result()
			must(t, err)
			must(t, client.Del(t.Context(), append(keys, twinKey)...).Err())
			return group.Master
		}},
		{"an older dump", func() { do(group.Master, "SAVE") }, func() *servers.Redis {
			must(t, group.Master.Kill())
			testredis.Restart(t, group.Master)
			return group.Master
		}},
		{"failed over", func() { must(t, group.Master.Cut(t.Context(), group.Replica)) }, func() *servers.Redis {
			must(t, group.Master.Kill())
			do(group.Replica, "REPLICAOF", "NO", "ONE")
			return group.Replica
		}},
	}
	for _, loss := range losses {
		old, text := "before "+loss.name, "after "+loss.name
		sessionWrite(t, session(), "a", old)
		standbyAgain(t, session, "a", old)
		twinKey = "twin " + loss.name
		loss.ready()
		r.Pause(t)
		sessionWrite(t, session(), "a", text)
		do(group.Master, "SET", twinKey, int64(r.position(t, "pg_current_wal_insert_lsn()")))
		lost := loss.lose()
		after := open(lost)

		t.Run("twin/no key, so nothing was written/"+loss.name, func(t *testing.T) {
			if err := testredis.Client(t, lost).Get(t.Context(), twinKey).Err(); !errors.Is(err, redis.Nil) {
				t.Errorf("the key is not gone: %v", err)
			}
			if got := body(t, r.standby[0], "a"); got != old {
				t.Errorf("the standby shows %q", got)
			}
		})
		t.Run("ours/"+loss.name, func(t *testing.T) {
			open := func() *replica.Session { return after.Session(document("a")) }
			for range 3 {
				wantPrimary(t, wantBody(t, open(), "a", text))
			}
			r.Resume(t)
			standbyAgain(t, open, "a", text)
		})
	}
}
