package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/testdb"
)

// TestMain is also the worker program of the runs under test.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == workerArgument {
		os.Exit(testWorker())
	}
	testdb.Main(m)
}

func testWorker() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := beWorker(ctx, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var must = expect.NoError
