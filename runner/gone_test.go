package runner_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

// slowAnswers are connections to a database on which the answer to a statement with a mark
// is held up, or never comes if whoever waits for it gives up.
type slowAnswers struct {
	mark  []byte
	armed atomic.Bool
	asked chan struct{}
	goOn  chan struct{}
	lost  bool // then the connection ends in place of the answer
}

type slowConn struct {
	net.Conn
	s      *slowAnswers
	held   atomic.Bool
	cut    chan struct{}
	cutter sync.Once
}

func (s *slowAnswers) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &slowConn{Conn: conn, s: s, cut: make(chan struct{})}, err
}

// Write implements [net.Conn].
func (c *slowConn) Write(p []byte) (int, error) {
	if c.s.armed.Load() && bytes.Contains(p, c.s.mark) && c.s.armed.CompareAndSwap(true, false) {
		c.held.Store(true)
	}
	return c.Conn.Write(p)
}

// Read implements [net.Conn].
func (c *slowConn) Read(p []byte) (int, error) {
	if c.held.CompareAndSwap(true, false) {
		c.s.asked <- struct{}{}
		select {
		case <-c.s.goOn:
			if c.s.lost {
				_ = c.Conn.Close() // for whoever reads
			}
		case <-c.cut:
		}
	}
	return c.Conn.Read(p)
}

// SetDeadline implements [net.Conn]. One that has passed is how pgx breaks off.
func (c *slowConn) SetDeadline(at time.Time) error {
	if !at.IsZero() && at.Before(time.Now()) {
		c.cutter.Do(func() { close(c.cut) })
	}
	return c.Conn.SetDeadline(at)
}

// A client leaves when the primary has committed its pick, and before that is known here.
// The build is another's at once, and not when its runner would have to have begun.
func TestAClientThatLeavesDuringItsPick(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	config := db.Pool(t).Config()
	s := &slowAnswers{mark: []byte("s_gone"), asked: make(chan struct{}, 1), goOn: make(chan struct{})}
	config.ConnConfig.DialFunc = s.dial
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	b := benchOn(t, pool, runner.Options{})
	leaver, other := b.runner(), b.runner()
	build := b.enqueue()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	s.armed.Store(true)
	go func() {
		defer close(left)
		_, _ = b.c.Call(ctx, http.MethodPost, "/api/v4/jobs/request", body{"token": leaver, "system_id": "s_gone"}) // it is not there for the answer
	}()
	<-s.asked
	observer := db.Pool(t)
	for status := ""; status != "running"; {
		must(t, observer.QueryRow(t.Context(), "SELECT status FROM casq.builds WHERE id = $1", build).Scan(&status))
	}
	leave()
	<-left
	<-b.c.HungUp
	close(s.goOn)
	if a := b.request(other, ""); a.Build() != build {
		t.Errorf("got %s, want build %d", a, build)
	}
}
