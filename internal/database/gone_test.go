package database

import (
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// A machine that is switched off says nothing. Who waits for its answer notices
// within seconds, and so does the server whose client has gone so: the kernel of
// each end is told to. (Played in a network namespace whose link was cut, a
// statement ended after 10 s, where it had not after 60.)
func TestAPeerThatIsGoneIsGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	config, err := pgx.ParseConfig("postgres://somebody@" + listener.Addr().String() + "/somewhere?connect_timeout=7")
	if err != nil {
		t.Fatal(err)
	}
	if err := configure(config, Options{}); err != nil {
		t.Fatal(err)
	}
	if config.ConnectTimeout != 7*time.Second {
		t.Errorf("the URL's connect_timeout is %v", config.ConnectTimeout)
	}
	conn, err := config.DialFunc(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	socket, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("it is a %T", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []struct {
		name               string
		level, opt, wanted int
	}{
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10_000},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	} {
		var got int
		var optErr error
		if err := raw.Control(func(fd uintptr) { got, optErr = unix.GetsockoptInt(int(fd), option.level, option.opt) }); err != nil || optErr != nil {
			t.Fatal(err, optErr)
		}
		if got != option.wanted {
			t.Errorf("%s is %d, want %d", option.name, got, option.wanted)
		}
	}
	for name, want := range map[string]string{
		"tcp_user_timeout": "10000", "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
	} {
		if got := config.RuntimeParams[name]; got != want {
			t.Errorf("the server's %s is %q, want %s", name, got, want)
		}
	}
}
