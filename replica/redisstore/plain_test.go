package redisstore_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/redis/go-redis/v9"
)

// TestAnOrdinaryRead: no script runs for it; what is out of the ordinary is a script's.
func TestAnOrdinaryRead(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t)
	s := open(t, server)
	ready(t, s, at(10), a, b)
	must(t, s.End(t.Context(), []replica.Object{a}, "", at(20)))
	scripts := func() string {
		stats, _ := do(t, server, "INFO", "commandstats").(string)
		_, calls, _ := strings.Cut(stats, "cmdstat_evalsha:calls=")
		calls, _, _ = strings.Cut(calls, ",")
		return calls
	}
	before := scripts()
	if known := read(t, s, a, b); known.Position != at(20) || known.FromFloor || len(known.Unready)+len(known.Writing) != 0 {
		t.Errorf("read: %+v", known)
	}
	if known := read(t, s, b); known.Position != at(10) || !known.FromFloor {
		t.Errorf("read: %+v", known)
	}
	if after := scripts(); after != before {
		t.Errorf("two reads ran scripts: %s before, %s after", before, after)
	}
	must(t, s.Begin(t.Context(), []replica.Object{a}, "1", 7, 4711))
	if known := read(t, s, a, b); len(known.Writing) != 1 || known.Position != at(20) {
		t.Errorf("with a mark: %+v", known)
	}
}

// TestAReplica: a replica shows its master's fields, and master_replid, but may lack
// the newest of them.
func TestAReplica(t *testing.T) {
	t.Parallel()
	group := testredis.StartSentinel(t)
	ready(t, open(t, group.Master), at(100), a)
	replicated(t, group.Master)
	if known, err := open(t, group.Replica).Read(t.Context(), []replica.Object{a}); err == nil && len(known.Unready) == 0 {
		t.Errorf("a replica was believed: %+v", known)
	}
}

// TestALateProof: between the two commands of a read, its server becomes the replica
// of one that lacks the newest position. The fields of before and the identity of
// afterwards do not go together, nor may those of afterwards be taken for the old ones.
func TestALateProof(t *testing.T) {
	t.Parallel()
	group := testredis.StartSentinel(t)
	must(t, group.Sentinel.Kill()) // The test promotes.
	one, two := group.Master, group.Replica
	split := &splitting{}
	s := split.open(t, one)
	ready(t, s, at(100), a)
	replicated(t, one)
	do(t, two, "REPLICAOF", "NO", "ONE")
	must(t, s.End(t.Context(), []replica.Object{a}, "", at(200)))
	host, port, _ := two.Address()
	between := func() {
		do(t, one, "REPLICAOF", host, port)
		replicated(t, two)
	}
	split.between.Store(&between)
	known, err := s.Read(t.Context(), []replica.Object{a})
	if split.between.Load() != nil {
		t.Fatal("the read was not split: the test shows nothing")
	}
	if err == nil && len(known.Unready) == 0 && known.Position != at(200) {
		t.Errorf("a position that was lost between two commands: %+v", known)
	}
}

// splitting are connections that call between, once, after the first of two commands.
type splitting struct{ between atomic.Pointer[func()] }

func (p *splitting) open(t *testing.T, server *servers.Redis) *redisstore.Store {
	t.Helper()
	options, err := redis.ParseURL(server.URL())
	must(t, err)
	options.ContextTimeoutEnabled = true
	options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &splitConn{conn, p}, err
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { must(t, client.Close()) })
	return redisstore.New(client, redisstore.Options{Timeout: time.Minute})
}

type splitConn struct {
	net.Conn
	splitting *splitting
}

func (c *splitConn) Write(text []byte) (int, error) {
	second := bytes.Index(text, []byte("\r\n*")) + 2
	if second < 2 {
		return c.Conn.Write(text)
	}
	between := c.splitting.between.Swap(nil)
	if between == nil {
		return c.Conn.Write(text)
	}
	n, err := c.Conn.Write(text[:second])
	if err != nil {
		return n, err
	}
	(*between)()
	m, err := c.Conn.Write(text[second:])
	return n + m, err
}
