// Package admin is the page of the people who run casq: how everything is, what failed, why
// any one resource is as it is, and what can be done about it.
//
// One sampler per process reads the database, at an interval and never more often: whoever
// looks gets the last sample, and so do any number of open pages, by server-sent events.
// What it reads is kept counts, and bounded look-ups by key. When the database cannot be
// reached the pages say so, with the last that was known, and go on by themselves.
//
// An action is a POST of somebody who is known (see [Door]), after a page that says what it
// will touch. It is recorded in casq.audit in its own transaction (see [casq/internal/audit]),
// and where it touches many resources a job carries it out.
package admin

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"casq/internal/database"
	"casq/jobs"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"
)

//go:embed static/style.css static/live.js templates/page.html templates/live.html
var files embed.FS

// Config of a [Server].
type Config struct {
	HomeURL string
	// Standbys are home's, of which the page tells how far they are.
	Standbys []string
	Door     Door
	// Refresh asks for all counters of a kind to be recounted.
	Refresh func(ctx context.Context, kind string) error
	Logger  *slog.Logger

	// Interval is the time between two samples; six times as long while nobody looks.
	// Defaults to 5 s.
	Interval time.Duration
	Streams  int // open pages at once; defaults to 500
	// WriteTimeout is how long an open page may take to take what it is sent; defaults to
	// 10 s.
	WriteTimeout time.Duration
}

// Limits of what a request may have.
const (
	bodyBytes = 16 << 10
	// mostKey is as long as a resource's key may be.
	mostKey = 1024
)

// Server has the pages. Its [Server.Run] samples.
type Server struct {
	cfg      Config
	home     *pgxpool.Pool
	river    *pgxpool.Pool // for River's own pages
	standbys []standby
	queue    *jobs.Queue
	sampler  *sampler
	pages    *template.Template
	handler  http.Handler
	wrong    *rate.Limiter // wrong secrets, of all who try
}

// standby is one of home's, under its address.
type standby struct {
	name string
	pool *pgxpool.Pool
}

// poolConns is how many connections the pages have, for the sampler and for what people do.
const poolConns = 4

// New returns a server. It does not connect yet.
func New(ctx context.Context, cfg Config) (*Server, error) {
	cfg.Interval = cmp.Or(cfg.Interval, 5*time.Second)
	cfg.Streams = cmp.Or(cfg.Streams, 500)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 10*time.Second)
	s := &Server{cfg: cfg, wrong: rate.NewLimiter(1, wrongAtOnce)}
	var err error
	if s.home, err = database.Open(ctx, cfg.HomeURL, database.Options{Application: "casq admin", MaxConns: poolConns}); err != nil {
		return nil, fmt.Errorf("open home for the pages: %w", err)
	}
	if s.river, err = database.Open(ctx, cfg.HomeURL, database.Options{Application: "casq admin", MaxConns: riverConns}); err != nil {
		s.Close()
		return nil, fmt.Errorf("open home for River's pages: %w", err)
	}
	for _, url := range cfg.Standbys {
		pool, err := database.Open(ctx, url, database.Options{Application: "casq admin", MaxConns: 1})
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("open a standby for the pages: %w", err)
		}
		c := pool.Config().ConnConfig
		s.standbys = append(s.standbys, standby{fmt.Sprintf("%s:%d", c.Host, c.Port), pool})
	}
	if s.queue, err = jobs.NewQueue(s.home, cfg.Logger); err == nil {
		s.pages, err = template.New("").Funcs(functions).ParseFS(files, "templates/*.html")
	}
	var river http.Handler
	if err == nil {
		river, err = s.riverPages(s.river)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("prepare the pages: %w", err)
	}
	s.sampler = newSampler(s)
	s.sampler.start(ctx)
	s.handler = s.routes(river)
	return s, nil
}

// Close is for when [Server.Run] has returned.
func (s *Server) Close() {
	for _, b := range s.standbys {
		b.pool.Close()
	}
	if s.river != nil {
		s.river.Close()
	}
	s.home.Close()
}

// Run samples until ctx is done, and then ends all open streams.
func (s *Server) Run(ctx context.Context) { s.sampler.run(ctx) }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) routes(river http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /style.css", asset("style.css", "text/css; charset=utf-8"))
	mux.Handle("GET /live.js", asset("live.js", "text/javascript; charset=utf-8"))
	mux.Handle("GET /signin", s.page(func(w http.ResponseWriter, r *http.Request) error {
		return s.render(w, http.StatusOK, "signin", signin{Next: localPath(r.FormValue("next"))})
	}))
	mux.Handle("POST /signin", s.page(s.signIn))
	mux.Handle("POST /signout", s.page(s.signOut))
	mux.Handle("GET /{$}", s.inside(s.overview))
	mux.Handle("GET /events", s.inside(s.stream))
	mux.Handle("GET /resource", s.inside(s.resource))
	mux.Handle("GET /act", s.acting(s.confirm))
	mux.Handle("POST /act", s.acting(s.act))
	mux.Handle(riverPrefix+"/", river)
	return headers(http.NewCrossOriginProtection().Handler(mux))
}

// headers are those of each answer. Nothing is run or shown that is not from here, and
// nothing that stands in a page.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"+
			" form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		next.ServeHTTP(w, r)
	})
}

func asset(name, contentType string) http.Handler {
	content, err := files.ReadFile("static/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content)
	})
}

type handler func(w http.ResponseWriter, r *http.Request) error

// refusal is an error that is told as it is, with its status.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

// page answers the error of a handler.
func (s *Server) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		told := refusal{http.StatusServiceUnavailable, database.Explain(err)}
		if refused := (refusal{}); errors.As(err, &refused) {
			told = refused
		}
		s.cfg.Logger.InfoContext(r.Context(), "page refused or failed", "path", r.URL.Path, "status", told.status, "err", err)
		if err := s.render(w, told.status, "failure", told.text); err != nil {
			s.cfg.Logger.WarnContext(r.Context(), "cannot answer", "err", err)
		}
	})
}

type callerKey struct{}

// caller is who sent a request, or "".
func caller(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}

// inside is a page for whoever may look.
func (s *Server) inside(h handler) http.Handler { return s.guarded(h, s.cfg.Door.closed()) }

// acting is a page for who may act.
func (s *Server) acting(h handler) http.Handler { return s.guarded(h, true) }

func (s *Server) guarded(h handler, known bool) http.Handler {
	return s.page(func(w http.ResponseWriter, r *http.Request) error {
		tries := strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ")
		if tries && s.wrong.Tokens() < 1 {
			return errTooMany
		}
		name := s.cfg.Door.who(r, time.Now())
		if name == "" && tries && s.cfg.Door.closed() {
			s.wrongSecret(r)
		}
		if name != "" || !known {
			return h(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, name)))
		}
		switch {
		case !s.cfg.Door.closed():
			return refusal{http.StatusForbidden, "Nobody may act here: no token is configured, and no trusted proxy."}
		case len(s.cfg.Door.Tokens) == 0:
			return refusal{http.StatusForbidden, "This page is reached by its proxy only, which says who you are."}
		case r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.URL.Path == "/events":
			return refusal{http.StatusUnauthorized, "Sign in first."}
		}
		http.Redirect(w, r, "/signin?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		return nil
	})
}

// render answers with a template, once all of it is there.
func (s *Server) render(w http.ResponseWriter, status int, name string, data any) error {
	var out bytes.Buffer
	if err := s.pages.ExecuteTemplate(&out, name, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = out.WriteTo(w)
	return nil
}
