package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/scripttest"
	"casq/internal/testing/shellrunner"
	"casq/internal/testing/testdb"
	"casq/internal/worker"

	"github.com/rogpeppe/go-internal/testscript"
)

// run is a testscript.TestingM.
type run func() int

func (r run) Run() int { return r() }

func TestMain(m *testing.M) {
	testscript.Main(run(func() int { return testdb.Run(m) }), map[string]func(){
		"enqueue": main, "works": func() { os.Exit(works()) }, "gitlab-runner": func() { os.Exit(runs()) },
	})
}

// works is a worker on home, until SIGTERM. SNAPSHOT_LIMIT is that of its recounts.
func works() (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := worker.Config{HomeURL: os.Getenv("DATABASE_URL"), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	cfg.RefreshSnapshotLimit, _ = time.ParseDuration(os.Getenv("SNAPSHOT_LIMIT"))
	if err := worker.Run(ctx, cfg); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runs is a runner of builds.
func runs() (code int) {
	if err := shellrunner.Run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestScripts(t *testing.T) {
	t.Parallel()
	scripttest.Run(t, "testdata/script", nil)
}
