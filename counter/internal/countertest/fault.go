package countertest

import (
	"net"
	"testing"

	"casq/counter/internal/buffer"
	"casq/internal/testing/faultproxy"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Fault loses a text once that is sent to Redis or Postgres: the first one after a
// named point. Or it loses the answer, when all is done.
type Fault struct {
	Point  string
	Text   string // "commit", or the hash of a script
	Answer bool

	network *faultproxy.Network
	over    bool
}

// At arms the fault at its point.
func (f *Fault) At(point string) {
	if f.network == nil || f.over || point != f.Point {
		return
	}
	f.over = true
	switch {
	case f.Text == "commit" && f.Answer:
		f.network.LoseAnswer(f.Text)
	case f.Answer:
		f.network.LoseAnswerTo(f.Text)
	default:
		f.network.Lose(f.Text)
	}
}

// Connect has the counters use a network that the fault is in.
func (f *Fault) Connect(t testing.TB, b *Bundle) {
	t.Helper()
	f.network = faultproxy.New()
	// Redis knows the scripts: it is not the first use that fails.
	for _, s := range []*redis.Script{buffer.ApplyScript, buffer.FreezeScript, buffer.DropScript, buffer.ResetScript, buffer.ReadScript} {
		if err := s.Load(t.Context(), b.Redis).Err(); err != nil {
			t.Fatal(err)
		}
	}
	server, ok := b.Redis.(*redis.Client)
	if !ok {
		t.Fatal("redis is not one server")
	}
	o := *server.Options()
	o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = f.network.Dial((&net.Dialer{}).DialContext)
	client := redis.NewClient(&o)
	t.Cleanup(func() { _ = client.Close() })
	b.Use(func(s *Settings) { s.Redis, s.Home, s.SideBySide = client, f.network.Pool(t, b.URL), 1 })
}

// WasLost fails the test when nothing was lost.
func (f *Fault) WasLost(t testing.TB) {
	t.Helper()
	select {
	case <-f.network.Lost():
	default:
		t.Error("nothing was lost")
	}
}

// Again tries until it succeeds; one fault needs no more than a few tries.
func Again(t testing.TB, try func() error) {
	t.Helper()
	var err error
	for range 5 {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
