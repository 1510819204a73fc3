package counter_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"casq/internal/testing/servers"

	"github.com/redis/go-redis/v9"
)

// moving is a shard whose slot is moved from one master to another.
type moving struct {
	*clustered
	slot            int64
	keys            []string
	from, to, other *servers.Redis
}

func setupMoving(t *testing.T, cluster *servers.RedisCluster) *moving {
	t.Helper()
	c := setupCluster(t, cluster)
	slot, third := c.slot(t, 0)
	masters := c.cluster.Masters
	return &moving{c, slot, c.buf.Keys(0), masters[third], masters[(third+1)%3], masters[(third+2)%3]}
}

func (m *moving) do(t *testing.T, r *servers.Redis, args ...any) {
	t.Helper()
	if _, err := r.Do(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// assign says of the slot, to a server, that it comes from or goes to another.
func (m *moving) assign(t *testing.T, r *servers.Redis, what string, other *servers.Redis) {
	t.Helper()
	id, err := other.ClusterID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.do(t, r, "CLUSTER", "SETSLOT", m.slot, what, id)
}

func (m *moving) begin(t *testing.T) {
	t.Helper()
	m.assign(t, m.to, "IMPORTING", m.from)
	m.assign(t, m.from, "MIGRATING", m.to)
}

func (m *moving) move(t *testing.T, key string) {
	t.Helper()
	host, port, password := m.to.Address()
	m.do(t, m.from, "MIGRATE", host, port, key, 0, 5000, "AUTH", password)
}

// evict removes a key that has been moved, while the slot is still to come.
func (m *moving) evict(t *testing.T, key string) {
	t.Helper()
	_, port, _ := m.to.Address()
	cluster, ok := m.Redis.(*redis.ClusterClient)
	if !ok {
		t.Fatal("this is no cluster")
	}
	err := cluster.ForEachMaster(t.Context(), func(ctx context.Context, client *redis.Client) error {
		if !strings.HasSuffix(client.Options().Addr, ":"+port) {
			return nil
		}
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Do(ctx, "ASKING")
			p.Del(ctx, key)
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// count counts a change, in Postgres where Redis refuses it.
func (m *moving) count(t *testing.T, step string, refused bool) {
	t.Helper()
	m.change(t)
	err := m.buffers(t)
	if (err != nil) != refused {
		t.Errorf("%s: %v, want it refused: %v", step, err, refused)
	}
	if err == nil {
		return
	}
	m.FeedInto(t, false)
	if got, want := m.Flushed(t), m.Real(t); !maps.Equal(got, want) {
		t.Errorf("%s: flushed %v, want %v", step, got, want)
	}
}

// A slot with a shard moves to another master, key by key, while events come.
// Redis refuses them while the shard's keys are apart, and else takes them.
func playSlotMoves(t *testing.T, cluster *servers.RedisCluster) {
	m := setupMoving(t, cluster)
	m.count(t, "before", false)
	m.begin(t)
	m.count(t, "begun", false)
	m.move(t, m.keys[0])
	m.count(t, "one key is there", true)
	m.move(t, m.keys[1])
	m.count(t, "both keys are there", false)
	m.right(t)
	m.evict(t, m.keys[1])
	m.count(t, "one key is evicted there", true)
	for _, r := range []*servers.Redis{m.to, m.from, m.other} {
		m.assign(t, r, "NODE", m.to)
	}
	m.count(t, "the slot is there", false)
	m.right(t)
	if n, err := m.to.Do(t.Context(), "CLUSTER", "COUNTKEYSINSLOT", m.slot); err != nil || n != int64(2) {
		t.Errorf("%v keys have moved, %v, want 2", n, err)
	}
}

// A script stops half-way when it makes a key of a slot that is about to move,
// since a key that is not here may be there. What was done by then is noticed.
func playHalfWay(t *testing.T, cluster *servers.RedisCluster) {
	for name, step := range map[string]func(*moving, *testing.T) error{
		"freeze": func(m *moving, t *testing.T) error {
			_, err := m.buf.Freeze(t.Context(), 0)
			return err
		},
		"drop": func(m *moving, t *testing.T) error {
			part, err := m.buf.Freeze(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			m.begin(t)
			return m.buf.Drop(t.Context(), 0, part)
		},
		"reset": func(m *moving, t *testing.T) error {
			found, err := m.buf.ReadStamps(t.Context(), []int{0})
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.buf.Reset(t.Context(), 0, found[0], "")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := setupMoving(t, cluster)
			m.count(t, "before", false)
			if name != "drop" {
				m.begin(t)
			}
			if err := step(m, t); err == nil || !strings.Contains(err.Error(), "non local key") {
				t.Errorf("the script went on: %v", err)
			}
			m.count(t, "moving", true)
			for _, r := range []*servers.Redis{m.to, m.from} {
				m.do(t, r, "CLUSTER", "SETSLOT", m.slot, "STABLE")
			}
			m.count(t, "not moving any more", false)
			m.right(t)
		})
	}
}
