package races

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
)

// balancer is one address in front of servers: each new connection goes to the
// current one.
type balancer struct {
	listener net.Listener
	target   atomic.Pointer[string]
	group    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newBalancer(t *testing.T, target string) *balancer {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	b := &balancer{listener: listener}
	b.point(target)
	b.group.Go(func() { b.accept(t.Context()) })
	t.Cleanup(func() {
		_ = listener.Close()
		b.cut()
		b.group.Wait()
	})
	return b
}

func (b *balancer) point(target string) { b.target.Store(&target) }

func (b *balancer) accept(ctx context.Context) {
	for {
		in, err := b.listener.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(ctx, "tcp", *b.target.Load())
		if err != nil {
			_ = in.Close()
			continue
		}
		b.mu.Lock()
		b.conns = append(b.conns, in, out)
		b.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			b.group.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			})
		}
	}
}

// cut ends all connections.
func (b *balancer) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.conns {
		_ = conn.Close()
	}
	b.conns = nil
}

// behind returns a server's URL with the balancer's address.
func (b *balancer) behind(t *testing.T, serverURL string) string {
	t.Helper()
	u, err := url.Parse(serverURL)
	must(t, err)
	u.Host = b.listener.Addr().String()
	return u.String()
}

func addressOf(t *testing.T, serverURL string) string {
	t.Helper()
	u, err := url.Parse(serverURL)
	must(t, err)
	if u.Host == "" {
		t.Fatalf("the server does not listen on TCP: %s", serverURL)
	}
	return u.Host
}

// TestR56TwoServers: behind one address the probe meets a standby that has the
// position, and the read a late one: a balancer, or a server that was set up again
// from an older backup.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR56TwoServers(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t, testdb.TCP())
	urls := []string{r.Cluster.StandbyURL(0), r.Cluster.StandbyURL(1)}
	addresses := []string{addressOf(t, urls[0]), addressOf(t, urls[1])}
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	r.Pause(t, 1)
	need := r.naiveWrite(t, "a", "new")
	r.CatchUp(t, 0)

	t.Run("twin/the address is probed", func(t *testing.T) {
		b := newBalancer(t, addresses[0])
		probe := testdb.Pool(t, b.behind(t, urls[0]))
		if replayedOn(t, probe) < need {
			t.Fatal("the probe has met the late one")
		}
		b.point(addresses[1])
		if got := body(t, testdb.Pool(t, b.behind(t, urls[0])), "a"); got != "old" {
			t.Errorf("the read met a server that shows %q", got)
		}
	})
	for name, inBand := range map[string]bool{"ours/a balancer": false, "ours/in band": true} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer(t, addresses[0])
			db := r.open(t, replica.Options{Wait: -1, InBand: inBand, Standbys: replica.URLs(b.behind(t, urls[0]))})
			s := db.Session()
			must(t, s.Wrote(t.Context()))
			need, err := replica.ParseToken(s.Token(t.Context()))
			must(t, err)
			replicatest.Until(t, "the probe has seen that position", func() error {
				if at := db.Hosts()[0].Position; at.Compare(need) < 0 {
					return fmt.Errorf("it has seen %s", at)
				}
				return nil
			})
			// The probe keeps its connection; the reads' are new.
			b.point(addresses[1])
			for range 10 {
				wantPrimary(t, wantBody(t, s, "a", "new"))
			}
		})
	}
	t.Run("ours/set up again", func(t *testing.T) {
		b := newBalancer(t, addresses[0])
		db := r.open(t, replica.Options{Wait: -1, Standbys: replica.URLs(b.behind(t, urls[0]))})
		s := db.Session()
		must(t, s.Wrote(t.Context()))
		r.CatchUp(t, 0)
		standbyAgain(t, func() *replica.Session { return s }, "a", "new")
		b.point(addresses[1])
		b.cut()
		for range 10 {
			choice := wantBody(t, s, "a", "new")
			if choice.Reason.Standby() {
				t.Error(errors.New(choice.String()))
			}
		}
	})
}
