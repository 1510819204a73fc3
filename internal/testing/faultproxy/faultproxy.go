// Package faultproxy opens connections, to Postgres and others, whose answers can get
// lost: the server has done what it was asked, and the client never hears of
// it. Questions can get lost, too.
package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/database"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Network loses what it is told to lose.
type Network struct {
	next   atomic.Pointer[loss]
	lost   chan struct{}
	narrow atomic.Pointer[narrow]
}

// narrow is a link that takes so many bytes across at once, and needs a time for
// more.
type narrow struct {
	bytes int
	takes time.Duration
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

// Narrow makes it a slow link: of a message that is longer than so many bytes, the
// rest arrives only after a time, unless the server has ended the session by then.
func (n *Network) Narrow(bytes int, takes time.Duration) { n.narrow.Store(&narrow{bytes, takes}) }

// Widen makes it fast again.
func (n *Network) Widen() { n.narrow.Store(nil) }

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
	return n.through(t, config)
}

// Open is [Network.Pool] for a pool as a worker has it.
func (n *Network) Open(t testing.TB, url string, o database.Options) *pgxpool.Pool {
	t.Helper()
	pool, err := database.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	return n.through(t, pool.Config())
}

func (n *Network) through(t testing.TB, config *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
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
		return &connection{Conn: conn, network: n, over: make(chan struct{})}, nil
	}
}

type connection struct {
	net.Conn
	network *Network

	mutex  sync.Mutex
	losing bool

	over    chan struct{} // closed at the connection's end
	endOnce sync.Once
}

// Write looks for the text. A message is written in one piece.
func (c *connection) Write(p []byte) (int, error) {
	if link := c.network.narrow.Load(); link != nil && len(p) > link.bytes {
		return c.squeeze(p, link)
	}
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

func (c *connection) squeeze(p []byte, link *narrow) (int, error) {
	n, err := c.Conn.Write(p[:link.bytes])
	if err != nil {
		return n, err
	}
	timer := time.NewTimer(link.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		m, err := c.Conn.Write(p[n:])
		return n + m, err
	case <-c.over:
		return n, net.ErrClosed
	}
}

// Read waits for the answer and breaks off.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	// A deadline is the client's own, and no end.
	var netErr net.Error
	if err != nil && (!errors.As(err, &netErr) || !netErr.Timeout()) {
		c.end()
	}
	c.mutex.Lock()
	losing := c.losing
	c.mutex.Unlock()
	if !losing || err != nil {
		return n, err
	}
	return 0, c.breakOff()
}

// Close ends whatever waits for the connection, too.
func (c *connection) Close() error {
	c.end()
	return c.Conn.Close()
}

// SetDeadline ends the wait of a message that is too long, as a deadline that is
// over would.
func (c *connection) SetDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		c.end()
	}
	return c.Conn.SetDeadline(t)
}

func (c *connection) end() { c.endOnce.Do(func() { close(c.over) }) }

func (c *connection) breakOff() error {
	_ = c.Conn.Close() // that is the point
	select {
	case c.network.lost <- struct{}{}:
	default:
	}
	return net.ErrClosed
}
