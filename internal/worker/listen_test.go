package worker

import (
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/logged"

	"golang.org/x/sys/unix"
)

// A worker that is started while the one before it still has its port waits for that, and
// says so; one whose port stays another's gives up.
func TestListenAtWaitsForItsPort(t *testing.T) {
	t.Parallel()
	before, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, said := before.Addr().String(), &logged.Messages{}
	if _, err := listenAt(t.Context(), slog.New(said), addr, time.Millisecond); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port that stays taken: %v", err)
	}
	if said.Count("address is in use") != 1 {
		t.Error("it is not said once")
	}
	said = &logged.Messages{}
	got := make(chan error, 1)
	go func() {
		listener, err := listenAt(t.Context(), slog.New(said), addr, time.Minute)
		if err == nil {
			err = listener.Close()
		}
		got <- err
	}()
	await.True(t, 20*time.Second, "it waits", func() bool { return said.Count("address is in use") == 1 })
	if err := errors.Join(before.Close(), <-got); err != nil {
		t.Error(err)
	}
}
