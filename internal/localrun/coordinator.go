package localrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/dev"
	"casq/runner"
	"casq/runner/filestore"

	"github.com/jackc/pgx/v5/pgxpool"
)

// coordinator is a build queue of this run, with its database and its server.
type coordinator struct {
	database *dev.Private
	pool     *pgxpool.Pool
	files    *filestore.Folder
	server   *http.Server
	url      string
	stop     context.CancelFunc
	tasks    sync.WaitGroup
}

const (
	poolConns = 8
	// traceInterval is how often runners report, and so how soon they hear of a cancel.
	traceInterval = time.Second
	headerTime    = 10 * time.Second
)

// startCoordinator starts the database and what hands builds out. On an error nothing is
// left.
func startCoordinator(ctx context.Context, p *place, logger *slog.Logger) (c *coordinator, err error) {
	c = &coordinator{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.database, err = dev.StartPrivate(ctx, logger); err != nil {
		return c, err
	}
	if c.pool, err = database.Open(ctx, c.database.URL, database.Options{Application: "casq exec", MaxConns: poolConns}); err != nil {
		return c, err
	}
	if err := os.Mkdir(p.path("artifacts"), 0o700); err != nil {
		return c, fmt.Errorf("make the folder of artifacts: %w", err)
	}
	if c.files, err = filestore.OpenFolder(p.path("artifacts")); err != nil {
		return c, err
	}
	queue := runner.New(c.pool, runner.Options{Artifacts: c.files, TraceInterval: traceInterval, Logger: logger})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return c, fmt.Errorf("listen for the runner: %w", err)
	}
	c.url = "http://" + listener.Addr().String()
	c.server = &http.Server{Handler: queue, ReadHeaderTimeout: headerTime, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	ticker := &eventlog.Ticker{Pool: c.pool, Logger: logger}
	c.tasks.Go(func() { ticker.Run(work) })
	c.tasks.Go(func() { queue.Run(work) })
	c.tasks.Go(func() { _ = c.server.Serve(listener) }) // until it is closed
	return c, nil
}

// close ends all of it, and removes the database.
func (c *coordinator) close() error {
	var errs []error
	if c.server != nil {
		errs = append(errs, c.server.Close())
	}
	if c.stop != nil {
		c.stop()
	}
	c.tasks.Wait()
	if c.files != nil {
		errs = append(errs, c.files.Close())
	}
	if c.pool != nil {
		c.pool.Close()
	}
	if c.database != nil {
		errs = append(errs, c.database.Stop())
	}
	return errors.Join(errs...)
}
