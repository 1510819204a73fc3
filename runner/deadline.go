package runner

import (
	"net/http"
	"time"
)

// How long a call may take that does not wait for a build. A server has one limit for
// whole requests at most, which those that wait would not keep.
const (
	bodyWithin   = 30 * time.Second // to arrive
	answerWithin = 30 * time.Second // to be taken
)

// response has a deadline from its first byte on. Calls whose answers are long set others
// by [http.ResponseController].
type response struct {
	http.ResponseWriter
}

// Unwrap is for [http.ResponseController].
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (r *response) WriteHeader(status int) {
	// Where there are no deadlines, as in a test, there is nobody slow.
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(answerWithin))
	r.ResponseWriter.WriteHeader(status)
}

// limitBody has a body arrive in time, also one that is passed over after an error. What
// is read of a connection later is somebody's who waits: whoever has read a body calls
// unlimited.
func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin))
	}
}

func unlimited(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}
