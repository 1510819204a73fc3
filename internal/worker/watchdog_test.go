package worker

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casq/internal/notify"
	"casq/internal/testing/await"
)

// managed returns what a service manager is told.
func managed(t *testing.T) (manager notify.Manager, told <-chan string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	lines, done := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(done)
		for text := make([]byte, 1000); ; {
			n, err := l.Read(text)
			if err != nil {
				return
			}
			lines <- string(text[:n])
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return notify.Manager{Socket: socket}, lines
}

// awaitTold returns when the manager is told a line.
func awaitTold(t *testing.T, told <-chan string, line string) {
	t.Helper()
	for {
		if got := await.Value(t, 10*time.Second, line, told); strings.HasPrefix(got, line) {
			return
		}
	}
}

// A database that is away is no reason to start a worker again.
func TestTheManagerIsToldWhileHomeIsAway(t *testing.T) {
	t.Parallel()
	manager, told := managed(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{
			HomeURL: "postgres://casq@127.0.0.1:1/casq", Manager: manager, Watchdog: 200 * time.Millisecond,
			Logger: slog.New(slog.DiscardHandler),
		})
	}()
	for _, line := range []string{"READY=1", "STATUS=waiting for home", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"} {
		awaitTold(t, told, line)
	}
	cancel()
	awaitTold(t, told, "STOPPING=1")
	if err := await.Value(t, 10*time.Second, "the worker's end", done); err != nil {
		t.Error(err)
	}
}

// A loop that does not come round is: the manager hears nothing of it any more.
func TestTheManagerHearsNothingOfAWorkerThatIsStuck(t *testing.T) {
	t.Parallel()
	manager, told := managed(t)
	log := &testLog{t: t}
	w := newWorker(Config{Manager: manager, Watchdog: 40 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	w.pulse.round("beat")
	w.pulse.last["schema"] = time.Now().Add(-roundLimit)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.tellManager(ctx)
	}()
	await.True(t, 10*time.Second, "it is said", func() bool { return log.has("loops make no progress") && log.has("[schema]") })
	cancel()
	<-done
	for {
		line := await.Value(t, 10*time.Second, "STOPPING=1", told)
		if line == "WATCHDOG=1" {
			t.Error("the manager was told that all is well")
		}
		if line == "STOPPING=1" {
			break
		}
	}
	w.pulse.end("schema")
	if stuck := w.pulse.stuck(time.Now()); len(stuck) > 0 {
		t.Errorf("%v is stuck", stuck)
	}
	if stuck := w.pulse.stuck(time.Now().Add(roundLimit)); len(stuck) != 1 || stuck[0] != "beat" {
		t.Errorf("%v is stuck; want beat", stuck)
	}
}
