package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"casq/internal/certificate"
	"casq/internal/database"
	"casq/runner"
	"casq/runner/filestore"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/net/netutil"
)

// Runners wait for builds in requests of up to a minute, so that no time of a whole
// request limits them: [runner.Coordinator] limits how long its parts may take.
const (
	// runnerConnections are as many as may wait, and those that report.
	runnerConnections = 12_000
	runnerHeaderTime  = 10 * time.Second
	runnerIdleTime    = 2 * time.Minute
	runnerHeaderBytes = 16 << 10
	// runnerStopTime is for calls that are under way at SIGTERM, such as uploads: their
	// runners make them again.
	runnerStopTime = 3 * time.Second
	// runnerConns is the coordinator's own pool: a request that waits has no connection,
	// and whatever copies and counters do, builds are handed out.
	runnerConns = 16
)

// runners is the server of runners' calls. It listens from the start on; until there is a
// coordinator calls are answered with 503.
type runners struct {
	server      *http.Server
	coordinator atomic.Pointer[runner.Coordinator]
	done        chan struct{}
	pools       []*pgxpool.Pool
	files       runner.FileStore // nil: builds leave no files
	closeFiles  func() error
}

// listenRunners starts the server; without an address there is none.
func (w *worker) listenRunners(ctx context.Context) error {
	if w.cfg.RunnerAddr == "" {
		return nil
	}
	cert, err := certificate.Open(w.cfg.RunnerCertificate, w.cfg.RunnerKey, w.log)
	if err != nil {
		return err
	}
	listener, err := listenAt(ctx, w.log, w.cfg.RunnerAddr, portWait)
	if err != nil {
		return fmt.Errorf("listen for runners: %w", err)
	}
	w.log.InfoContext(ctx, "listening for runners", "runner_addr", listener.Addr().String(), "tls", cert != nil)
	listener = netutil.LimitListener(listener, runnerConnections)
	r := &runners{done: make(chan struct{})}
	r.server = &http.Server{
		Handler: r, MaxHeaderBytes: runnerHeaderBytes, ReadHeaderTimeout: runnerHeaderTime, IdleTimeout: runnerIdleTime,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	serve := func() error { return r.server.Serve(listener) }
	if cert != nil {
		r.server.TLSConfig = cert.TLS()
		serve = func() error { return r.server.ServeTLS(listener, "", "") }
	}
	go func() {
		defer close(r.done)
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			w.log.ErrorContext(ctx, "the server of runners' calls ended", "err", err)
		}
	}()
	w.runners = r
	return nil
}

// ServeHTTP implements [http.Handler].
func (r *runners) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if c := r.coordinator.Load(); c != nil {
		c.ServeHTTP(w, request)
		return
	}
	w.Header().Set("Retry-After", "3")
	http.Error(w, `{"message":"the build queue is being started, try again"}`, http.StatusServiceUnavailable)
}

// openRunners opens the coordinator's pools: home's, and those of its standbys; and where
// the files of builds are kept. A folder may be one that is not mounted yet.
func (w *worker) openRunners(ctx context.Context) error {
	if w.runners == nil {
		return nil
	}
	for i, url := range append([]string{w.cfg.HomeURL}, w.cfg.ReplicaURLs...) {
		pool, err := database.Open(ctx, url, database.Options{Application: "casq runner", MaxConns: runnerConns})
		if err != nil {
			return fmt.Errorf("open database %d of the build queue: %w", i, err)
		}
		w.runners.pools = append(w.runners.pools, pool)
	}
	if w.cfg.RunnerArtifacts == "" {
		return nil
	}
	return w.retryEach(ctx, "the files of builds", func() error {
		store, err := filestore.Open(ctx, w.cfg.RunnerArtifacts)
		if err == nil {
			w.runners.files, w.runners.closeFiles = store, store.Close
		}
		return err
	}, func(err error) bool { return !errors.Is(err, fs.ErrNotExist) })
}

// coordinate hands out builds until ctx is done. Then requests that wait are answered,
// and calls that are under way have a moment to end.
func (w *worker) coordinate(ctx context.Context) {
	options := w.cfg.Runner
	options.Standbys, options.Artifacts = w.runners.pools[1:], w.runners.files
	options.Logger, options.Hook = w.log, w.cfg.Hook
	options.Picked = func(outcome string) { w.metrics.Add("casq_build_picks_total", 1, outcome) }
	options.HandedOut = func(waited time.Duration) { w.metrics.Observe("casq_build_pickup_seconds", waited) }
	c := runner.New(w.runners.pools[0], options)
	w.metrics.Waiting(c.Waiting)
	w.runners.coordinator.Store(c)
	c.Run(ctx)
	w.runners.stop(ctx, runnerStopTime)
}

// stop ends the server, and waits so long for calls that are under way.
func (r *runners) stop(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = r.server.Shutdown(ctx)
	_ = r.server.Close()
	<-r.done
}

// close is for when nothing is under way any more, or never was.
func (r *runners) close(ctx context.Context) {
	if r == nil {
		return
	}
	r.stop(ctx, 0)
	for _, pool := range r.pools {
		pool.Close()
	}
	if r.closeFiles != nil {
		_ = r.closeFiles() // what was kept is safe
	}
}
