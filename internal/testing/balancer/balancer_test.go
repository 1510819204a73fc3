package balancer_test

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"

	"casq/internal/testing/balancer"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestNewConnectionsGoToTheCurrentServer: those that are open stay, until they are cut.
func TestNewConnectionsGoToTheCurrentServer(t *testing.T) {
	t.Parallel()
	one, two := serve(t, "1"), serve(t, "2")
	b, err := balancer.New(one)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	first := dial(t, b)
	want(t, first, "1")
	if err := b.Point(two); err != nil {
		t.Fatal(err)
	}
	second := dial(t, b)
	want(t, first, "1")
	want(t, second, "2")
	b.Cut()
	if n, err := first.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from a connection that was cut", n)
	}
}

func TestOnlyTCP(t *testing.T) {
	t.Parallel()
	if _, err := balancer.New("postgres:///casq?host=/tmp"); err == nil {
		t.Error("a socket's folder is no address")
	}
}

// serve answers each byte with its name.
func serve(t *testing.T, name string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = listener.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for asked := make([]byte, 1); ; {
					if _, err := io.ReadFull(conn, asked); err != nil {
						return
					}
					fmt.Fprint(conn, name)
				}
			}()
		}
	}()
	return "postgres://" + listener.Addr().String()
}

func dial(t *testing.T, b *balancer.Balancer) net.Conn {
	t.Helper()
	text, err := b.Behind("postgres://user@somewhere/database")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil || u.Path != "/database" || u.User.Username() != "user" {
		t.Fatalf("%s: %v", text, err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func want(t *testing.T, conn net.Conn, name string) {
	t.Helper()
	answer := make([]byte, 1)
	if _, err := conn.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != name {
		t.Errorf("server %q answers, want %s: %v", answer, name, err)
	}
}
