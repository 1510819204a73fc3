package admin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"casq/internal/audit"
	"casq/jobs"

	"github.com/jackc/pgx/v5/pgxpool"
	"riverqueue.com/riverui"
)

// riverPrefix is where River's own pages are.
const riverPrefix = "/river"

// riverConns is how many connections they have, of a pool of their own: what somebody looks
// up there keeps nobody else waiting.
const riverConns = 2

// riverPages returns River's own pages. They are not started: their background queries count
// all jobs that there are, whether somebody looks or not. Without them a number is counted up
// to 10,000, or estimated, when somebody asks for it.
func (s *Server) riverPages(pool *pgxpool.Pool) (http.Handler, error) {
	queue, err := jobs.NewQueue(pool, s.cfg.Logger)
	if err != nil {
		return nil, err
	}
	pages, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(queue.River(), nil), Logger: s.cfg.Logger, Prefix: riverPrefix,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare River's pages: %w", err)
	}
	look := s.inside(func(w http.ResponseWriter, r *http.Request) error {
		pages.ServeHTTP(w, r)
		return nil
	})
	change := s.acting(func(w http.ResponseWriter, r *http.Request) error { return changeJobs(w, r, pages) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// It has data in its page that no browser runs, sets styles of elements, and shows
		// pictures of its own.
		w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"+
			" object-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			look.ServeHTTP(w, r)
			return
		}
		change.ServeHTTP(w, r)
	}), nil
}

// changeJobs hands a change on, on behalf of who asks: what it changes is recorded in its own
// transaction, as each change of jobs and queues is.
func changeJobs(w http.ResponseWriter, r *http.Request, pages http.Handler) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return refusal{http.StatusRequestEntityTooLarge, "Those are too many jobs at once."}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := newRequest(r, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.Path, riverPrefix+"/api/")+" "+string(body)))
	request.Via = "river"
	pages.ServeHTTP(w, r.WithContext(audit.With(r.Context(), request)))
	return nil
}
