package lease

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/faultproxy"
	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Of a server that was down: it ends a second after its pool was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const (
	name = "database:cursor"
	// short is for leases that are to end: many times a round trip.
	short = 900 * time.Millisecond
	// patience is for what happens soon, on a busy machine.
	patience = 30 * time.Second
)

// testBundle is a Redis, and a client that is never in the way.
type testBundle struct {
	server *servers.Redis
	client redis.UniversalClient
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	server := testredis.Start(t)
	return &testBundle{server, testredis.Client(t, server)}
}

func (b *testBundle) leaser(ttl time.Duration) *Leaser {
	return New(Config{Client: b.client, TTL: ttl})
}

// behind returns a client that reaches the server through a network, and never
// repeats anything by itself.
func (b *testBundle) behind(t *testing.T, network *faultproxy.Network) redis.UniversalClient {
	t.Helper()
	o, err := redis.ParseURL(b.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.MaxRetries, o.ContextTimeoutEnabled = -1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = network.Dial((&net.Dialer{}).DialContext)
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// obtain returns a lease that is given back at the end of the test.
func obtain(t *testing.T, l *Leaser, log slog.Handler) *Lease {
	t.Helper()
	held, err := l.Obtain(t.Context(), name, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Release(context.Background()) })
	return held
}

// holder is what Redis says.
func (b *testBundle) holder(t *testing.T) string {
	t.Helper()
	value, err := b.client.Get(t.Context(), key(name)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return value
}

// wantDenied asks in another's name.
func wantDenied(t *testing.T, other, holder *Leaser) {
	t.Helper()
	_, err := other.Obtain(t.Context(), name, slog.New(slog.DiscardHandler))
	var held *HeldError
	if !errors.As(err, &held) || !errors.Is(err, ErrHeld) {
		t.Fatalf("obtained with %v, want it held", err)
	}
	if held.Holder != holder.ID() || held.ExpiresIn < 0 || held.ExpiresIn > holder.TTL() {
		t.Errorf("held by %s for another %s, want %s for at most %s", held.Holder, held.ExpiresIn, holder.ID(), holder.TTL())
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	await.True(t, patience, what, condition)
}
