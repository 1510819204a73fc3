package runner

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// How long a client may take. A server has one limit for whole requests at most, which
// those that wait, or bring or fetch large files, would not keep.
const (
	bodyWithin  = 30 * time.Second // a body; of a file each piece
	writeWithin = 30 * time.Second // each piece of an answer
)

// response has a deadline for each of its pieces.
type response struct {
	http.ResponseWriter
}

// Unwrap is for [http.ResponseController].
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Write implements [http.ResponseWriter].
func (r *response) Write(piece []byte) (int, error) {
	r.limit()
	return r.ResponseWriter.Write(piece)
}

// WriteHeader implements [http.ResponseWriter].
func (r *response) WriteHeader(status int) {
	r.limit()
	r.ResponseWriter.WriteHeader(status)
}

// limit does nothing where there are no deadlines, as in a test: nobody is slow there.
func (r *response) limit() {
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(writeWithin))
}

// body is one with a deadline, which ends with it: what is read of the connection later
// only tells that a client who waits has gone.
type body struct {
	io.ReadCloser
	deadline func(time.Time) error
	file     bool
}

// limitBody has a body arrive in time, also one that is passed over after an error.
func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	b := &body{r.Body, http.NewResponseController(w).SetReadDeadline, strings.HasSuffix(r.URL.Path, "/artifacts")}
	_ = b.deadline(time.Now().Add(bodyWithin)) // see response.limit
	r.Body = b
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if b.file {
		_ = b.deadline(time.Now().Add(bodyWithin))
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.deadline(time.Time{})
	}
	return n, err
}
