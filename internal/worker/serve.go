package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"casq/eventlog"
	"casq/internal/certificate"
	"casq/internal/database"
	"casq/transfer/file"
	"casq/transfer/serve"

	"golang.org/x/net/netutil"
)

// Other sites fetch files in requests that may take hours; each write of them is limited.
const (
	serveConnections = 512
	serveHeaderTime  = 10 * time.Second
	serveIdleTime    = time.Minute
	serveHeaderBytes = 16 << 10
	// serveStopTime is for requests that are under way at SIGTERM: who asks goes on elsewhere.
	serveStopTime = 2 * time.Second
	// serveAskTime is how long home may take to say whether a key is one of a resource.
	serveAskTime = 2 * time.Second
)

// serveRole is sending files to other sites.
const serveRole = "serve"

// fileServer sends files to other sites. It listens from the start on; until home has told
// of its kinds, and the folder is there, it answers that it cannot tell.
type fileServer struct {
	*serve.Server
	http   *http.Server
	done   chan struct{}
	source *file.Source // nil: the folder was not there yet
}

// listenFiles starts the server; without an address there is none.
func (w *worker) listenFiles(ctx context.Context) error {
	if w.cfg.ServeAddr == "" {
		return nil
	}
	cert, err := certificate.Open(w.cfg.ServeCertificate, w.cfg.ServeKey, w.log)
	if err != nil {
		return err
	}
	listener, err := listenAt(ctx, w.log, w.cfg.ServeAddr, portWait)
	if err != nil {
		return fmt.Errorf("listen for other sites: %w", err)
	}
	w.log.InfoContext(ctx, "listening for other sites", "serve_addr", listener.Addr().String(), "tls", cert != nil)
	f := &fileServer{done: make(chan struct{}), Server: serve.New(serve.Config{
		Tokens: w.cfg.ServeTokens, Tracked: w.hasResource, Served: w.countServed, Logger: w.log,
	})}
	// One request at a time on a connection, so that limits of one are limits of the other.
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	f.http = &http.Server{
		Handler: f, MaxHeaderBytes: serveHeaderBytes, ReadHeaderTimeout: serveHeaderTime, IdleTimeout: serveIdleTime,
		Protocols: protocols, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	listener = netutil.LimitListener(listener, serveConnections)
	start := func() error { return f.http.Serve(listener) }
	if cert != nil {
		f.http.TLSConfig = cert.TLS()
		start = func() error { return f.http.ServeTLS(listener, "", "") }
	}
	go func() {
		defer close(f.done)
		if err := start(); !errors.Is(err, http.ErrServerClosed) {
			w.log.ErrorContext(ctx, "the server for other sites ended", "err", err)
		}
	}()
	w.fileServer = f
	return nil
}

// serveFiles keeps what is served up to date until ctx is done.
func (w *worker) serveFiles(ctx context.Context) {
	every(ctx, time.Second, "serve files", func() error {
		err := errors.Join(w.serveFolder(), w.serveKinds(ctx))
		w.roles.end(serveRole, err)
		return err
	}, w.log)
	w.fileServer.stop(ctx, serveStopTime)
}

// serveFolder opens the folder when it is there, and tells when it no longer is.
func (w *worker) serveFolder() error {
	f := w.fileServer
	if f.source == nil {
		source, err := file.OpenSource(w.cfg.ServeDir, w.log)
		if err != nil {
			return err
		}
		f.source = source
		f.From(source)
	}
	return f.source.Check()
}

// serveKinds reads which kinds of files there are. While home does not answer they are
// those of before.
func (w *worker) serveKinds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serveAskTime)
	defer cancel()
	known, err := eventlog.Kinds(ctx, w.home)
	if err != nil {
		return err
	}
	var kinds []serve.Kind
	for _, k := range known {
		if k.Transfer == eventlog.TransferFile {
			kinds = append(kinds, serve.Kind{Name: k.Name, Prefix: k.SourcePrefix})
		}
	}
	w.fileServer.SetKinds(kinds)
	return nil
}

// hasResource tells whether a key of a kind is in its table. A kind without one, whose
// events an application appends itself, has any. So has each kind while home does not answer:
// the site that is to take over needs the files then.
func (w *worker) hasResource(ctx context.Context, kind, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, serveAskTime)
	defer cancel()
	var has bool
	err := w.home.QueryRow(ctx, workerSQL.HasResource, kind, key).Scan(&has)
	if err != nil && !database.Answered(err) {
		return true, nil
	}
	return has, err
}

// countServed counts a request of another site.
func (w *worker) countServed(outcome serve.Outcome, bytes int64) {
	w.metrics.Add("casq_served_requests_total", 1, string(outcome))
	w.metrics.Add("casq_served_bytes_total", float64(bytes))
}

// stop ends the server, and waits so long for requests that are under way.
func (f *fileServer) stop(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = f.http.Shutdown(ctx)
	_ = f.http.Close()
	<-f.done
}

// close is for when nothing is under way any more, or never was.
func (f *fileServer) close(ctx context.Context) {
	if f == nil {
		return
	}
	f.stop(ctx, 0)
	if f.source != nil {
		_ = f.source.Close()
	}
}
