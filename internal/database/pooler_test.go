package database

import (
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Whoever puts a pooler in front that does not know casq's settings learns what to
// connect to instead, and not that the database takes no connections.
func TestPoolerThatRefusesSettings(t *testing.T) {
	t.Parallel()
	pool, err := Open(t.Context(), "postgres://casq@"+refusingPooler(t)+"/casq?sslmode=disable", Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	err = pool.Ping(t.Context())
	if err == nil {
		t.Fatal("the pooler let a session in")
	}
	if got := problem(err); !strings.Contains(got, "pooler refuses the settings") {
		t.Errorf("the problem is %q", got)
	}
	for _, want := range []string{"unsupported startup parameter: search_path", "a URL that leads to Postgres itself"} {
		if got := Explain(err); !strings.Contains(got, want) {
			t.Errorf("explained as %q, want %q in it", got, want)
		}
	}
}

// refusingPooler answers each session that sends a search_path as PgBouncer does.
func refusingPooler(t *testing.T) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = listener.Close() // what ends the loop
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			refuse(t, conn)
		}
	}()
	return listener.Addr().String()
}

func refuse(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	message, err := backend.ReceiveStartupMessage()
	if err != nil {
		t.Errorf("receive the start of a session: %v", err)
		return
	}
	if start, ok := message.(*pgproto3.StartupMessage); !ok || start.Parameters["search_path"] == "" {
		t.Errorf("a session began with %v, want a search_path", message)
		return
	}
	backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: search_path"})
	if err := backend.Flush(); err != nil {
		t.Errorf("refuse a session: %v", err)
	}
}
