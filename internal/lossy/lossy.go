// Package lossy opens connections, to Postgres and others, whose answers can get
// lost: the server has done what it was asked, and the client never hears of
// it. Questions can get lost, too.
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
	next atomic.Pointer[loss]
	lost chan struct{}
}

// loss is of the message that contains text, or of the answer to it.
type loss struct {
	text   []byte
	answer bool
}

// New returns a network that loses nothing yet.
func New() *Network { return &Network{lost: make(chan struct{}, 1)} }

// LoseAnswer makes the next connection that sends a statement that ends with
// this text break off when the server has answered, before the client gets the
// answer. It is for statements without parameters, such as commit.
func (n *Network) LoseAnswer(statement string) { n.LoseAnswerTo(statement + "\x00") }

// LoseAnswerTo is LoseAnswer for any message that contains this text.
func (n *Network) LoseAnswerTo(text string) { n.next.Store(&loss{[]byte(text), true}) }

// Lose makes the next connection that sends a message with this text break off
// before the server gets it.
func (n *Network) Lose(text string) { n.next.Store(&loss{[]byte(text), false}) }

// Lost is sent to when something was lost.
func (n *Network) Lost() <-chan struct{} { return n.lost }

// Pool opens a pool whose connections go through the network, closed when the
// test ends.
func (n *Network) Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DialFunc = n.Dial(config.ConnConfig.DialFunc)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Dial returns a function that dials through the network.
func (n *Network) Dial(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &connection{Conn: conn, network: n}, nil
	}
}

type connection struct {
	net.Conn
	network *Network

	mutex  sync.Mutex
	losing bool
}

// Write looks for the text. A message is written in one piece.
func (c *connection) Write(p []byte) (int, error) {
	next := c.network.next.Load()
	if next == nil || !bytes.Contains(p, next.text) || !c.network.next.CompareAndSwap(next, nil) {
		return c.Conn.Write(p)
	}
	if !next.answer {
		return 0, c.breakOff()
	}
	c.mutex.Lock()
	c.losing = true
	c.mutex.Unlock()
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
	return 0, c.breakOff()
}

func (c *connection) breakOff() error {
	_ = c.Conn.Close() // that is the point
	select {
	case c.network.lost <- struct{}{}:
	default:
	}
	return net.ErrClosed
}
