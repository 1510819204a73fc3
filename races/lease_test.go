package races

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	casqdb "casq/internal/database"
	"casq/internal/redisurl"
	"casq/internal/testing/servers"
	"casq/internal/testing/testproc"
	"casq/internal/testing/testredis"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	holderChild = "holder"
	// shortLease is waited for; it is long against the pauses of a busy
	// machine between two renewals, for most of the time.
	shortLease = 2 * time.Second
	// longLease is longer than any test: whoever waits for it has lost.
	longLease = 5 * time.Minute
	// busy is by how much a machine that does something else may be late.
	busy = 15 * time.Second
)

// leaseSite is a log, and the Redis that says who follows it.
type leaseSite struct {
	*logSite
	redis  *servers.Redis
	client redis.UniversalClient
}

func newLeaseSite(t *testing.T) *leaseSite {
	t.Helper()
	server := testredis.Start(t)
	return &leaseSite{newLogSite(t), server, testredis.Client(t, server)}
}

// leased is a cursor's configuration that uses Redis, with a lease of that time.
func (s *leaseSite) leased(t *testing.T, lease time.Duration) cursor.Config {
	t.Helper()
	cfg := s.config(t)
	cfg.Redis, cfg.Lease, cfg.Wait = s.client, lease, 100*time.Millisecond
	return cfg
}

// put commits an event for each resource, and has a tick show them.
func (s *leaseSite) put(t *testing.T, resources ...string) {
	t.Helper()
	s.write(t, resources...)
	s.tick(t)
}

// untilHolder waits until a process follows the log.
func (s *leaseSite) untilHolder(t *testing.T, pid int) {
	t.Helper()
	s.until(t, fmt.Sprintf(`SELECT EXISTS (SELECT FROM casq.cursor_status WHERE split_part(holder, '/', 2) = '%d')`, pid))
}

// epoch is how often the log was taken over so far.
func (s *leaseSite) epoch(t *testing.T) string {
	t.Helper()
	return lines(t, s.pool, "SELECT epoch::text FROM casq.cursors")
}

// leaseKey is what the lease is called in Redis.
func (s *leaseSite) leaseKey(t *testing.T) string {
	t.Helper()
	keys, err := s.client.Keys(t.Context(), "casq:lease:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("leases %q, want one; %v", keys, err)
	}
	return keys[0]
}

// holderSpec is a cursor in a process of its own.
type holderSpec struct {
	URL, Redis string
	Lease      time.Duration
	Idle       time.Duration // how long it may hold its locks
	FreezeAt   string        // the point where it freezes, once
	FreezeIn   int           // when it comes there for the how many-th time; 0 is 1
}

func (s *leaseSite) start(t *testing.T, spec holderSpec) *testproc.Process {
	t.Helper()
	spec.URL = s.url
	encoded, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return testproc.Start(t, holderChild, string(encoded))
}

// holderMain follows the log until SIGTERM. It says its pid when it follows, and
// each point that it comes to.
func holderMain(args []string) error {
	var spec holderSpec
	if err := json.Unmarshal([]byte(args[0]), &spec); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := casqdb.Open(ctx, spec.URL, casqdb.Options{SearchPath: "public", IdleInTransaction: spec.Idle})
	if err != nil {
		return err
	}
	defer pool.Close()
	var client redis.UniversalClient
	if spec.Redis != "" {
		if client, err = redisurl.Open(spec.Redis); err != nil {
			return err
		}
		defer client.Close()
	}
	passed := 0
	return cursor.New(cursor.Config{
		Name: "race", Source: pool, Home: pool, Consumer: applier{}, Logger: slog.New(slog.DiscardHandler),
		Redis: client, Lease: spec.Lease, Interval: time.Millisecond, Wait: 100 * time.Millisecond,
		Hook: func(point string) {
			if point == spec.FreezeAt {
				passed++
				if passed == max(spec.FreezeIn, 1) {
					testproc.Freeze("frozen")
				}
			}
			testproc.Say(point)
		},
	}).Run(ctx)
}

// holderPid is the process that follows the log, as its row says.
func (s *leaseSite) holderPid(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(lines(t, s.pool, "SELECT split_part(holder, '/', 2) FROM casq.cursors"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// cable is a client's way to Redis, which can be cut.
type cable struct {
	cut   atomic.Bool
	mu    sync.Mutex
	conns []net.Conn
}

// client returns a client that uses the cable.
func (c *cable) client(t *testing.T, server *servers.Redis) redis.UniversalClient {
	t.Helper()
	o, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		if c.cut.Load() {
			return nil, net.ErrClosed
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			c.conns = append(c.conns, conn)
		}
		return conn, err
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (c *cable) sever() {
	c.cut.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // that is the point
	}
}

// naiveHolder has a lease and relies on it: it reads a batch, applies it, and
// then saves how far it has come.
type naiveHolder struct {
	s    *leaseSite
	tick int64
	next int64
	read []eventlog.Event
}

func (s *leaseSite) naiveHolder(t *testing.T) *naiveHolder {
	t.Helper()
	execute(t, s.pool, "CREATE TABLE IF NOT EXISTS naive_cursor (tick bigint)")
	execute(t, s.pool, "INSERT INTO naive_cursor SELECT 0 WHERE NOT EXISTS (SELECT FROM naive_cursor)")
	return &naiveHolder{s: s}
}

// batch reads from the saved position on.
func (n *naiveHolder) batch(t *testing.T) {
	t.Helper()
	p := n.s.logSite.start(t)
	if err := n.s.pool.QueryRow(t.Context(), "SELECT c.tick, t.nonce FROM naive_cursor AS c JOIN casq.ticks AS t ON t.id = c.tick").Scan(&p.Tick, &p.Nonce); err != nil {
		t.Fatal(err)
	}
	batch, err := eventlog.NewReader(n.s.pool, 0).Next(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	n.tick, n.next, n.read = p.Tick, batch.Next.Tick, batch.Events
}

func (n *naiveHolder) apply(t *testing.T) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), n.s.pool, func(tx pgx.Tx) error { return writeDown(t.Context(), tx, n.read) })
	if err != nil {
		t.Fatal(err)
	}
}

func (n *naiveHolder) save(t *testing.T) {
	t.Helper()
	execute(t, n.s.pool, fmt.Sprintf("UPDATE naive_cursor SET tick = %d", n.next))
}
