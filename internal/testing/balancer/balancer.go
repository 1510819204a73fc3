// Package balancer is one address in front of several servers, as a load balancer, a
// service's name or an address that moves is.
package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// Balancer hands each new connection to the server that it points at. Those that are open
// stay where they are.
type Balancer struct {
	listener net.Listener
	target   atomic.Pointer[string]
	group    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// New listens on a free port of 127.0.0.1 and points at the server with a URL, which
// listens on TCP. The caller closes it.
func New(serverURL string) (*Balancer, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a balancer: %w", err)
	}
	b := &Balancer{listener: listener}
	if err := b.Point(serverURL); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	b.group.Go(b.accept)
	return b, nil
}

// Point hands new connections to another server.
func (b *Balancer) Point(serverURL string) error {
	u, err := url.Parse(serverURL)
	if err != nil {
		return fmt.Errorf("point a balancer at a server: %w", err)
	}
	if u.Host == "" {
		return fmt.Errorf("point a balancer at %s: %w", serverURL, errNoTCP)
	}
	b.target.Store(&u.Host)
	return nil
}

var errNoTCP = errors.New("the server does not listen on TCP")

// Behind returns a server's URL with the balancer's address.
func (b *Balancer) Behind(serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", fmt.Errorf("reach a server through a balancer: %w", err)
	}
	u.Host = b.listener.Addr().String()
	return u.String(), nil
}

// Cut ends all connections.
func (b *Balancer) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.conns {
		_ = conn.Close() // One end may have closed it.
	}
	b.conns = nil
}

// Close ends all connections and accepts no more.
func (b *Balancer) Close() error {
	err := b.listener.Close()
	b.Cut()
	b.group.Wait()
	return err
}

func (b *Balancer) accept() {
	for {
		in, err := b.listener.Accept()
		if err != nil {
			b.Cut() // One may have been accepted since Close has cut the others.
			return
		}
		out, err := new(net.Dialer).Dial("tcp", *b.target.Load())
		if err != nil {
			_ = in.Close()
			continue
		}
		b.mu.Lock()
		b.conns = append(b.conns, in, out)
		b.mu.Unlock()
		b.group.Go(func() { pass(in, out) })
		b.group.Go(func() { pass(out, in) })
	}
}

// pass sends on what comes from one end, until either is closed.
func pass(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}
