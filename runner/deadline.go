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
	writeWithin = 30 * time.Second // each piece of an answer
	// slowestFile is how many bytes of a file have to come in a second, over all, after
	// Options.BodyWithin: else whoever sends one now and then could go on for ever.
	slowestFile = 4 << 10
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
	within   time.Duration
	began    time.Time
	size     int64
}

// limitBody has a body arrive in time, also one that is passed over after an error.
func limitBody(w http.ResponseWriter, r *http.Request, within time.Duration) {
	if r.ContentLength == 0 {
		return
	}
	b := &body{
		ReadCloser: r.Body, deadline: http.NewResponseController(w).SetReadDeadline,
		file: strings.HasSuffix(r.URL.Path, "/artifacts"), within: within, began: time.Now(),
	}
	b.limit()
	r.Body = b
}

// limit is how long the body may take: that of a file as long as its size asks for, and each
// of its pieces as long as another body.
func (b *body) limit() {
	by := b.began.Add(b.within)
	if b.file {
		by = by.Add(time.Duration(b.size/slowestFile) * time.Second)
		if piece := time.Now().Add(b.within); piece.Before(by) {
			by = piece
		}
	}
	_ = b.deadline(by) // see response.limit
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if b.file {
		b.limit()
	}
	n, err := b.ReadCloser.Read(p)
	b.size += int64(n)
	if err == io.EOF {
		_ = b.deadline(time.Time{})
	}
	return n, err
}
