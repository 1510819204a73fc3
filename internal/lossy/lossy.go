// Package lossy opens connections to Postgres whose answers can get lost: the
// server has done what it was asked, and the client never hears of it.
package lossy

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Network loses what it is told to lose.
type Network struct {
	statement atomic.Pointer[[]byte]
	lost      chan struct{}
}

// New returns a network that loses nothing yet.
func New() *Network { return &Network{lost: make(chan struct{}, 1)} }

// LoseAnswer makes the next connection that sends a statement that ends with
// this text break off when the server has answered, before the client gets the
// answer. It is for statements without parameters, such as commit.
func (n *Network) LoseAnswer(statement string) {
	text := []byte(statement + "\x00")
	n.statement.Store(&text)
}

// Lost is sent to when an answer was lost.
func (n *Network) Lost() <-chan struct{} { return n.lost }

// Pool opens a pool whose connections go through the network, closed when the
// test ends.
func (n *Network) Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &connection{Conn: conn, network: n}, nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

type connection struct {
	net.Conn
	network *Network

	mutex  sync.Mutex
	losing bool
}

// Write looks for the statement. A message is written in one piece.
func (c *connection) Write(p []byte) (int, error) {
	statement := c.network.statement.Load()
	if statement != nil && bytes.Contains(p, *statement) && c.network.statement.CompareAndSwap(statement, nil) {
		c.mutex.Lock()
		c.losing = true
		c.mutex.Unlock()
	}
	return c.Conn.Write(p)
}

// Read waits for the answer and breaks off.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mutex.Lock()
	losing := c.losing
	c.mutex.Unlock()
	if !losing || err != nil {
		return n, err
	}
	_ = c.Conn.Close() // that is the point
	select {
	case c.network.lost <- struct{}{}:
	default:
	}
	return 0, net.ErrClosed
}
