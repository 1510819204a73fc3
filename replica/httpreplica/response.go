package httpreplica

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"casq/replica"
)

// response puts the token into the header when that goes out.
//
// It has Flush and Hijack for those who ask by an interface; what else the writer
// below can do is found by [http.ResponseController], through Unwrap.
type response struct {
	http.ResponseWriter
	middleware *Middleware
	request    *http.Request
	session    *replica.Session
	came       []string
	// sent says that the header has gone out, hijacked that nothing will.
	sent, hijacked bool
}

var (
	_ http.Flusher  = (*response)(nil)
	_ http.Hijacker = (*response)(nil)
	_ io.ReaderFrom = (*response)(nil)
)

// begin is called before the header goes out.
func (w *response) begin() {
	if w.sent {
		return
	}
	w.sent = true
	w.put()
}

// WriteHeader sends the header. Those of 1xx go out before the answer's, which they
// are not; 101 is the last.
func (w *response) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets the server send a file without copying it.
func (w *response) ReadFrom(from io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, from)
}

// Flush is for handlers that stream.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over. Nothing of this package goes out on it.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return conn, buffer, err
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// end is called when the handler has returned. Without a body the header goes out
// only then.
func (w *response) end() {
	if w.hijacked {
		return
	}
	w.begin()
	if name := w.middleware.Trailer; name != "" {
		if token := w.session.Token(w.request.Context()); token != "" {
			w.Header().Set(name, token)
		}
	}
}
