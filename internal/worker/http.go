package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveHTTP answers /livez (the process runs) and /readyz (it has its roles,
// and home answers), from the start on: while databases are waited for, a
// worker is alive and not ready.
func (w *worker) serveHTTP(ctx context.Context) (stop func(), err error) {
	if w.cfg.HTTPAddr == "" {
		return func() {}, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.cfg.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on HTTP_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", w.readyz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			w.log.ErrorContext(ctx, "http server ended", "err", err)
		}
	}()
	w.log.InfoContext(ctx, "listening", "addr", listener.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		_ = server.Close()
		<-done
	}, nil
}

func (w *worker) readyz(rw http.ResponseWriter, r *http.Request) {
	state, ready := w.roles.snapshot()
	body := struct {
		Ready bool                 `json:"ready"`
		Roles map[string]roleState `json:"roles"`
		Error string               `json:"error,omitempty"`
	}{ready, state, ""}
	if ready {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := w.home.Ping(ctx); err != nil {
			body.Ready, body.Error = false, "home does not answer"
		}
	}
	rw.Header().Set("Content-Type", "application/json")
	if !body.Ready {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(rw).Encode(body); err != nil {
		w.log.DebugContext(r.Context(), "cannot answer", "err", err)
	}
}
