package runner

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// mostBody is how long the JSON body of a call may be.
const mostBody = 1 << 20

// routes are the calls of the API. Some have two spellings.
func (c *Coordinator) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v4/jobs/request", c.requestJob)
	mux.HandleFunc("PUT /api/v4/jobs/{id}", c.updateJob)
	mux.HandleFunc("PATCH /api/v4/jobs/{id}/trace", c.appendTrace)
	mux.HandleFunc("POST /api/v4/jobs/{id}/artifacts", c.uploadArtifact)
	mux.HandleFunc("GET /api/v4/jobs/{id}/artifacts", c.downloadArtifact)
	c.runnerRoutes(mux)
	return mux
}

// ServeHTTP implements [http.Handler].
func (c *Coordinator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 128 {
		id = rand.Text()
	}
	w.Header().Set("X-Request-Id", id)
	limitBody(w, r, c.options.BodyWithin)
	c.mux.ServeHTTP(&response{w}, r)
}

// problem is an answer that is an error.
type problem struct {
	status  int
	message string
}

// Error implements error.
func (p *problem) Error() string { return strconv.Itoa(p.status) + " " + p.message }

// The answers that runners act upon. After three times 403 a runner rests for an hour, so
// that is never said of what may pass.
var (
	errForbidden = &problem{http.StatusForbidden, "403 Forbidden"}
	errNotFound  = &problem{http.StatusNotFound, "404 Not found"}
)

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // whoever went away does not read it
	}
}

// fail answers with an error. What is not the caller's fault is 503: it may try again.
func (c *Coordinator) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case r.Context().Err() != nil:
		return // nobody is there to read it
	case errors.Is(err, errRefused):
		p = errForbidden
	case errors.Is(err, errHeld):
		c.log.WarnContext(r.Context(), "a runner's call has to be made again: a transaction holds a row", "call", r.Pattern, "err", err)
		w.Header().Set("Retry-After", "3")
		p = &problem{http.StatusServiceUnavailable, "the build is held by somebody's transaction, try again"}
	default:
		c.contacts.failed(err)
		c.log.WarnContext(r.Context(), "a runner's call failed", "call", r.Pattern, "err", err)
		w.Header().Set("Retry-After", "3")
		p = &problem{http.StatusServiceUnavailable, "the build queue's database does not answer, try again"}
	}
	if p.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "3")
	}
	answer(w, p.status, map[string]string{"message": p.message})
}

// read decodes a call's body.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &problem{http.StatusRequestEntityTooLarge, "the body has more than " + strconv.Itoa(mostBody) + " bytes"}
	case err != nil:
		return &problem{http.StatusBadRequest, "the body did not arrive"}
	}
	if len(body) == 0 {
		return nil // its token is in a header
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &problem{http.StatusBadRequest, "the body is not the JSON that this call takes: " + err.Error()}
	}
	return nil
}

// tokenOf returns the token of a call: from its body, or else from a header. The names
// have changed over the versions of the runner.
func tokenOf(r *http.Request, inBody string, headers ...string) string {
	if inBody != "" {
		return inBody
	}
	for _, name := range headers {
		if token := strings.TrimSpace(r.Header.Get(name)); token != "" {
			return token
		}
	}
	return ""
}

// runnerToken and jobToken find the tokens of the two sorts of calls.
func runnerToken(r *http.Request, inBody string) string {
	return tokenOf(r, inBody, "Runner-Token", "Private-Token")
}

func jobToken(r *http.Request, inBody string) string {
	return tokenOf(r, inBody, "Job-Token", "Private-Token")
}

// job is the attempt that a call's token stands for.
type job struct {
	id      int64
	attempt int32
	project int64
	status  Status
	begun   bool
	hash    []byte
}

// authorize returns the attempt of a call about a job. The primary is asked, so that what
// was picked a moment ago is there, whichever process has picked it; 403 and 404 are
// true.
func (c *Coordinator) authorize(r *http.Request, token string) (job, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return job{}, errNotFound
	}
	if token == "" {
		return job{}, errForbidden
	}
	var j job
	err = c.guarded(r, token, func() (err error) {
		j, err = c.ofToken(r.Context(), id, token)
		return err
	})
	if err != nil {
		return j, err
	}
	c.contacts.build(j.id, j.attempt)
	return j, nil
}

// begin notes the first sign of life of an attempt.
func (c *Coordinator) begin(ctx context.Context, j *job) error {
	if j.begun || (j.status != Running && j.status != Canceling) {
		return nil
	}
	j.begun = true
	_, err := c.change(ctx, nil, buildSQL.Begin, j.id, j.hash)
	return err
}
