package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Whoever reaches the address may open connections and say nothing. Each is
// closed after these times; those beyond the limit wait until others are.
const (
	httpConnections = 100
	httpReadTimeout = 5 * time.Second // of a request, its body included
	httpIdleTimeout = 10 * time.Second
	httpTimeout     = 10 * time.Second // of a request's answer
	httpHeaderBytes = 8 << 10
)

// serveHTTP answers /livez (the process runs), /readyz (it has its roles, and home
// answers), and /metrics, from the start on: while databases are waited for, a worker is
// alive and not ready.
func (w *worker) serveHTTP(ctx context.Context) (stop func(), err error) {
	if w.cfg.HTTPAddr == "" {
		return func() {}, nil
	}
	listener, err := listenAt(ctx, w.log, w.cfg.HTTPAddr, portWait)
	if err != nil {
		return nil, fmt.Errorf("listen for /livez, /readyz and /metrics: %w", err)
	}
	listener = netutil.LimitListener(listener, httpConnections)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("ok\n"))
	})
	ping := &probe{every: probeEvery, ask: func(ctx context.Context) error { return w.home.Ping(ctx) }}
	health := w.newHealth()
	asking, stopAsking := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() { defer close(asked); health.run(asking) }()
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) { w.readyz(rw, r, ping, health) })
	mux.Handle("GET /metrics", w.metrics.Handler())
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: httpHeaderBytes, ReadHeaderTimeout: httpReadTimeout,
		ReadTimeout: httpReadTimeout, WriteTimeout: httpTimeout, IdleTimeout: httpIdleTimeout,
	}
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
		stopAsking()
		<-asked
	}, nil
}

func (w *worker) readyz(rw http.ResponseWriter, r *http.Request, home *probe, health *health) {
	state, reason := w.roles.snapshot()
	body := struct {
		Ready bool                 `json:"ready"`
		Roles map[string]roleState `json:"roles"`
		Error string               `json:"error,omitempty"`
		// Health is that of the site, not of this worker: it decides nothing here.
		Health    string `json:"health,omitempty"`
		HealthAge int    `json:"health_age_seconds,omitempty"`
	}{Ready: reason == "", Roles: state, Error: reason}
	if body.Ready {
		if err := home.answer(r.Context()); err != nil {
			body.Ready, body.Error = false, "home does not answer"
		} else {
			body.Health, body.HealthAge = health.sentence()
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

// For so long the answer of a [probe] counts.
const probeEvery = time.Second

// probe asks whether something answers, at most so often and once at a time, for
// any number of requests.
//
// mu guards at and err, and what ask writes.
type probe struct {
	every time.Duration
	ask   func(context.Context) error

	mu  sync.Mutex
	at  time.Time
	err error
}

// answer does not end with ctx: what is found counts for others, too.
func (p *probe) answer(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < p.every {
		return p.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	p.err, p.at = p.ask(ctx), time.Now()
	return p.err
}
