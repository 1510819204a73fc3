package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"casq/counter/recount"
	"casq/internal/admin"

	"golang.org/x/net/netutil"
)

// An open page has a connection for as long as it is open: [admin.Config] limits how many
// are, and each write to one has its own time.
const (
	adminConnections = 1000
	adminReadTimeout = 10 * time.Second
	adminTimeout     = 30 * time.Second // of an answer that is no stream
	adminIdleTime    = time.Minute
	adminHeaderBytes = 16 << 10
)

// errStarting says that the worker is not that far.
var errStarting = errors.New("this worker is still being started, try again")

// serveAdmin answers with the page from the start on: while databases are waited for it
// says so.
func (w *worker) serveAdmin(ctx context.Context) (stop func(), err error) {
	if w.cfg.AdminAddr == "" {
		return func() {}, nil
	}
	page, err := admin.New(ctx, admin.Config{
		HomeURL: w.cfg.HomeURL, Standbys: w.cfg.ReplicaURLs, Door: w.cfg.AdminDoor, Refresh: w.askRefresh, Logger: w.log,
	})
	if err != nil {
		return nil, err
	}
	listener, err := listenAt(ctx, w.log, w.cfg.AdminAddr, portWait)
	if err != nil {
		page.Close()
		return nil, fmt.Errorf("listen for the page: %w", err)
	}
	w.log.InfoContext(ctx, "listening for the page", "admin_addr", listener.Addr().String())
	server := &http.Server{
		Handler: page, MaxHeaderBytes: adminHeaderBytes, ReadHeaderTimeout: adminReadTimeout, ReadTimeout: adminReadTimeout,
		WriteTimeout: adminTimeout, IdleTimeout: adminIdleTime, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	var group sync.WaitGroup
	running, end := context.WithCancel(ctx)
	group.Go(func() { page.Run(running) })
	group.Go(func() {
		if err := server.Serve(netutil.LimitListener(listener, adminConnections)); !errors.Is(err, http.ErrServerClosed) {
			w.log.ErrorContext(ctx, "the page's server ended", "err", err)
		}
	})
	return func() {
		end() // open pages end
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		_ = server.Close()
		group.Wait()
		page.Close()
	}, nil
}

// askRefresh asks for all counters of a kind to be recounted.
func (w *worker) askRefresh(ctx context.Context, kind string) error {
	recounts := w.askable.Load()
	if recounts == nil {
		return errStarting
	}
	_, _, err := recounts.Refresh(ctx, recount.Request{Kind: kind, All: true})
	return err
}
