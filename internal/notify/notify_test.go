package notify

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAManagerIsTold(t *testing.T) {
	t.Parallel()
	for _, socket := range []string{filepath.Join(t.TempDir(), "notify"), "@casq-test-" + filepath.Base(t.TempDir())} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		m := Manager{Socket: socket}
		for want, tell := range map[string]func() error{
			"READY=1": m.Ready, "STOPPING=1": m.Stopping, "WATCHDOG=1": m.Alive,
			"STATUS=waiting READY=1": func() error { return m.Status("waiting\nREADY=1") },
		} {
			if err := tell(); err != nil {
				t.Errorf("%s: %v", want, err)
			}
			if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 100)
			n, err := l.Read(got)
			if err != nil || string(got[:n]) != want {
				t.Errorf("got %q, %v; want %q", got[:n], err, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Ready(); err == nil {
			t.Error("a manager that is gone was told")
		}
	}
	if err := (Manager{}).Ready(); err != nil {
		t.Errorf("nobody: %v", err)
	}
}
