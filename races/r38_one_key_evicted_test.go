package races

import (
	"errors"
	"strings"
	"testing"

	"casq/counter"
	"casq/counter/recount"
	"casq/eventlog"

	"github.com/redis/go-redis/v9"
)

// TestR38OneKeyEvicted: one of the keys of a shard disappears from Redis, and the
// others stay. Who keeps the position beside what was counted goes on from it,
// and has lost what the other key had. Every key has to tell by itself what it
// belongs to, so that the shard is replayed.
func TestR38OneKeyEvicted(t *testing.T) {
	t.Parallel()
	t.Run("twin/position in another key", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		twin := newR38(t, s)
		s.put(t, 1, 1, 100)
		twin.read(t)
		must(t, s.client.Del(t.Context(), "twin:pending").Err())
		s.put(t, 2, 1, 5)
		twin.read(t)
		if got := twin.value(t); got != 5 {
			t.Errorf("the twin has %d, want 5 for 105", got)
		}
	})
	for _, key := range []string{"pending", "frozen"} {
		for _, at := range []string{"buffered", "flush:frozen", "flush:locked", "flush:committed"} {
			t.Run("ours/"+key+" at "+at, func(t *testing.T) {
				t.Parallel()
				s := newCounterSite(t)
				o := s.ours(t, func(cfg *counter.Config, _ *recount.Config) { cfg.Shards = 1 })
				s.put(t, 1, 1, 300)
				o.arrive(t)
				o.flush(t)
				s.put(t, 2, 1, 40)
				o.arrive(t)
				goOn := func() {}
				if at != "buffered" {
					goOn = o.heldFlush(t, at)
					s.put(t, 3, 1, 7)
					o.arrive(t)
				}
				s.evict(t, key)
				goOn()
				o.quiesceReal(t, 1)
				s.put(t, 4, 1, 2)
				o.quiesceReal(t, 1)
			})
		}
	}
}

// evict removes the one key of a shard that ends so.
func (s *counterSite) evict(t *testing.T, suffix string) {
	t.Helper()
	keys, err := s.client.Keys(t.Context(), "casq:*:"+suffix).Result()
	must(t, err)
	if len(keys) != 1 || !strings.Contains(keys[0], "counters") {
		t.Fatalf("keys %q, want one", keys)
	}
	must(t, s.client.Del(t.Context(), keys[0]).Err())
}

// r38 counts one project in one key, and keeps in another how far it is.
type r38 struct {
	s      *counterSite
	reader *eventlog.Reader
	at     map[string]eventlog.Position // by what the key says
}

func newR38(t *testing.T, s *counterSite) *r38 {
	t.Helper()
	reader := eventlog.NewReader(s.pool, 0)
	start, err := reader.Start(t.Context())
	must(t, err)
	return &r38{s: s, reader: reader, at: map[string]eventlog.Position{"": start}}
}

func (r *r38) read(t *testing.T) {
	t.Helper()
	r.s.tick(t)
	at, err := r.s.client.Get(t.Context(), "twin:position").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	batch, err := r.reader.Next(t.Context(), r.at[at])
	must(t, err)
	sum := int64(0)
	for _, e := range batch.Events {
		sum += e.SizeDelta
	}
	r.at[batch.Next.String()] = batch.Next
	_, err = r.s.client.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.IncrBy(t.Context(), "twin:pending", sum)
		p.Set(t.Context(), "twin:position", batch.Next.String(), 0)
		return nil
	})
	must(t, err)
}

func (r *r38) value(t *testing.T) int64 {
	t.Helper()
	n, err := r.s.client.Get(t.Context(), "twin:pending").Int64()
	must(t, err)
	return n
}
