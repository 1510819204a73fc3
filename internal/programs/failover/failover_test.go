package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/internal/testing/workers"
)

// TestMain is also the worker program of the run under test.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	child, err := workers.Child(ctx, os.Args[1:], os.Stdout)
	stop()
	if !child {
		testdb.Main(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestShortRun is with a short lease. How soon another takes over is not compared:
// the machine may have other work too.
func TestShortRun(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for leases to end")
	}
	var out strings.Builder
	err := play(t.Context(), config{lease: 2 * time.Second, program: os.Args[0], out: &out, grace: time.Minute})
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "\nfailover: OK\n") {
		t.Error("the last line is not: failover: OK")
	}
	for _, want := range []string{
		"after SIGTERM", "after SIGKILL", "after SIGSTOP", "SIGCONT to", "lease obtained, fetching events",
		"cannot obtain lease, another process holds it", "lease released, finished fetching events", "was denied the lease",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
