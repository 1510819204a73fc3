package admin

import (
	"bytes"
	"net/http"
	"time"
)

// stream sends each frame to an open page, as an event. A client costs a goroutine and no
// query, and one that does not read is dropped.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	if !s.sampler.enter(s.cfg.Streams) {
		w.Header().Set("Retry-After", "10")
		return refusal{http.StatusServiceUnavailable, "Too many pages are open. Reload this one to see the newest."}
	}
	defer s.sampler.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy hands each event on
	answer := http.NewResponseController(w)
	for {
		frame, news, ended := s.sampler.current()
		if ended {
			return nil
		}
		if err := answer.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout)); err != nil {
			return err
		}
		if _, err := w.Write(event(frame)); err != nil || answer.Flush() != nil {
			return nil // it has gone
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return nil
		}
	}
}

// event is a frame as one event: each line of it begins with a word.
func event(frame []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(frame)+len(frame)/16))
	for line := range bytes.Lines(frame) {
		out.WriteString("data: ")
		out.Write(bytes.TrimRight(line, "\r\n"))
		out.WriteByte('\n')
	}
	out.WriteString("\n")
	return out.Bytes()
}
