package registry_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// network carries a pool's messages and loses one of them when it is told to:
// either the message itself, or the answer to it.
//
// mu guards the rest.
type network struct {
	mu     sync.Mutex
	left   int    // messages until the one that is lost; 0: none is
	answer bool   // it arrives, and the answer is lost
	hit    func() // called when the loss is certain, before anybody notices
	lost   bool
}

// lose makes the network lose the n-th message from now, or the answer to it.
func (n *network) lose(message int, answer bool, hit func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.left, n.answer, n.hit, n.lost = message, answer, hit, false
}

// heal ends what lose began, and tells whether a message was lost.
func (n *network) heal() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.left = 0
	return n.lost
}

// count counts one message, and tells whether it is to be lost.
func (n *network) count() (lost, answer bool, hit func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left == 0 {
		return false, false, nil
	}
	n.left--
	n.lost = n.left == 0
	return n.lost, n.answer, n.hit
}

// pool returns a pool of one connection over the network.
func (n *network) pool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 1
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &link{Conn: conn, network: n}, nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// link is a connection. Write is called for one message, or one pipeline of
// messages, at a time. A goodbye is not counted: a pool that is reset says it
// whenever it comes to it.
type link struct {
	net.Conn
	network *network

	mu   sync.Mutex
	deaf func() // set: the next answer is lost
}

var errCut = errors.New("the network was cut")

func (l *link) Write(b []byte) (int, error) {
	const goodbye = 'X'
	if b[0] == goodbye {
		return l.Conn.Write(b)
	}
	lost, answer, hit := l.network.count()
	switch {
	case lost && answer:
		l.mu.Lock()
		l.deaf = hit
		l.mu.Unlock()
	case lost:
		hit()
		_ = l.Close()
		return 0, errCut
	}
	return l.Conn.Write(b)
}

func (l *link) Read(b []byte) (int, error) {
	l.mu.Lock()
	hit := l.deaf
	l.deaf = nil
	l.mu.Unlock()
	if hit == nil {
		return l.Conn.Read(b)
	}
	l.readAnswer()
	hit()
	_ = l.Close()
	return 0, errCut
}

// readAnswer reads until the server is ready for the next query: what it was
// sent is done, and committed if it was to be.
func (l *link) readAnswer() {
	for header := make([]byte, 5); header[0] != 'Z'; {
		if _, err := io.ReadFull(l.Conn, header); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, l.Conn, int64(binary.BigEndian.Uint32(header[1:]))-4); err != nil {
			return
		}
	}
}
