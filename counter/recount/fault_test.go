package recount

import (
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/counter/internal/buffer"
	"casq/counter/internal/tally"
	"casq/internal/testing/faultproxy"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// faulty are counters whose next step fails, or is done with its answer lost.
type faulty struct {
	*testBundle
	network *faultproxy.Network
	point   string // from which on the text is lost
	text    string
	answer  bool
	armed   bool
	inParts bool // the recount goes on in parts
}

func (f *faulty) at(point string) {
	if !f.armed || point != f.point {
		return
	}
	f.armed = false
	switch {
	case f.text == "commit" && f.answer:
		f.network.LoseAnswer(f.text)
	case f.answer:
		f.network.LoseAnswerTo(f.text)
	default:
		f.network.Lose(f.text)
	}
}

// Each durable step fails, or is done and nobody hears of it. What was going on
// is done again, and then every counter is what its table says: nothing is lost,
// and nothing counts twice.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, point, text string }{
		{"add to what is pending", "feed:read", buffer.ApplyScript.Hash()},
		{"freeze", "begin", buffer.FreezeScript.Hash()},
		{"flush", "flush:locked", "commit"},
		{"drop what was flushed", "flush:committed", buffer.DropScript.Hash()},
		{"read", "begin", buffer.ReadScript.Hash()},
		{"empty a shard", "wiped", buffer.ResetScript.Hash()},
		{"write without redis", "without", "commit"},
		{"ask for a recount", "asking", "commit"},
		{"start a scan", "scanning", "commit"},
		{"end a scan", "scan:summed", "commit"},
		{"swap", "finalize:locked", "commit"},
		{"end a recount", "finalize:swapped", "commit"},
		{"count in parts", "scan:slow", "commit"},
		{"end a part", "finalize:swapped", "commit"},
	} {
		for name, answer := range map[string]bool{"failed": false, "failed, but persisted": true} {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t)
				f.point, f.text, f.answer, f.armed = test.point, test.text, answer, true
				f.inParts = strings.HasSuffix(test.name, "part") || strings.HasSuffix(test.name, "parts")
				f.play(t)
				select {
				case <-f.network.Lost():
				default:
					t.Error("nothing was lost")
				}
			})
		}
	}
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{network: faultproxy.New()}
	f.testBundle = setup(t, func(c *settings) { c.Hook = f.at })
	// Redis knows the scripts: it is not the first use that fails.
	for _, s := range []*redis.Script{buffer.ApplyScript, buffer.FreezeScript, buffer.DropScript, buffer.ResetScript, buffer.ReadScript} {
		if err := s.Load(t.Context(), f.redis).Err(); err != nil {
			t.Fatal(err)
		}
	}
	server, ok := f.redis.(*redis.Client)
	if !ok {
		t.Fatal("redis is not one server")
	}
	o := *server.Options()
	o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = f.network.Dial((&net.Dialer{}).DialContext)
	client := redis.NewClient(&o)
	t.Cleanup(func() { _ = client.Close() })
	f.use(func(s *settings) { s.Redis, s.Home, s.SideBySide = client, f.network.Pool(t, f.url), 1 })
	f.patience = 0
	return f
}

// play is all that there is, with a fault in one step. Whoever fails, tries
// again.
func (f *faulty) play(t *testing.T) {
	feed := func(buffered bool) func() error {
		return func() error {
			f.tick(t)
			buf, n, err := f.feeds.Open(t.Context())
			if err != nil {
				return err
			}
			if !buffered {
				buf = nil
			}
			feeder := f.feeds.NewFeeder(buf, n, tally.All(n)...)
			for more := true; more && err == nil; {
				more, err = feeder.Round(t.Context())
			}
			return err
		}
	}
	flush := func() error { _, err := f.Flush(t.Context()); return err }
	f.exec(t, "INSERT INTO artifacts SELECT n, n % 7, n FROM generate_series(1, 50) AS n")
	f.at("begin")
	f.again(t, feed(true))
	f.again(t, flush)
	f.exec(t, "DELETE FROM artifacts WHERE id < 10")
	f.again(t, feed(true))
	f.redis.FlushAll(t.Context())
	f.at("wiped")
	f.again(t, feed(true))
	f.exec(t, "UPDATE artifacts SET size = size + 1")
	f.at("without")
	f.again(t, feed(false))
	f.again(t, feed(true))

	f.exec(t, "UPDATE casq.counters SET size = size + 1")
	f.at("asking")
	f.again(t, func() error {
		_, _, err := f.Refresh(t.Context(), Request{Kind: "artifact", All: true})
		return err
	})
	f.at("scanning")
	if f.inParts {
		f.divides(t)
	}
	f.works(t)
	f.exec(t, "INSERT INTO artifacts VALUES (1000, 1, 10)")
	for len(f.queue.scans)+len(f.queue.finalizes) > 0 { // what was asked for twice waits its turn
		f.works(t)
	}
	f.again(t, feed(true))
	f.again(t, flush)
	if got, want := f.flushedValues(t), f.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
	var states []string
	err := f.pool.QueryRow(t.Context(), "SELECT array_agg(DISTINCT state) FROM casq.refreshes").Scan(&states)
	if err != nil || !slices.Equal(states, []string{"done"}) {
		t.Errorf("recounts are %v, %v, want done", states, err)
	}
}

// divides is the first scan, which takes too long.
func (f *faulty) divides(t *testing.T) {
	t.Helper()
	f.since = func(time.Time) time.Duration { return time.Hour }
	f.exec(t, "CREATE INDEX ON artifacts (project)")
	scans, _ := f.queue.take()
	f.again(t, func() error {
		s, err := f.startScan(t.Context(), scans[0], 1, f.process)
		if err != nil {
			return err
		}
		return s.divide(t.Context())
	})
}

// works carries out the jobs that there are.
func (f *faulty) works(t *testing.T) {
	t.Helper()
	scans, finalizes := f.queue.take()
	for _, id := range scans {
		f.again(t, func() error {
			err := f.Scan(t.Context(), id, 1, f.process)
			if errors.Is(err, ErrBusy) {
				f.queue.scans, err = append(f.queue.scans, id), nil
			}
			return err
		})
	}
	for _, z := range finalizes {
		f.again(t, func() error { return f.Finalize(t.Context(), z, 2) })
	}
}

// again tries until it succeeds; one fault needs no more than a few tries.
func (f *faulty) again(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for range 5 {
		if err = try(); err == nil || errors.Is(err, ErrSuperseded) {
			return
		}
	}
	t.Fatal(err)
}
