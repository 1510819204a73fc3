package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"casq/internal/token"
	"casq/transfer"
	"casq/transfer/web"
)

// Config says what is sent to whom.
type Config struct {
	// Tokens are those of who may ask. Several, so that one can replace another.
	Tokens []token.Token
	// Tracked is asked whether a key of a kind is one of a resource; an error: that cannot be
	// told at present. nil: each is.
	Tracked func(ctx context.Context, kind, key string) (bool, error)
	// Served is told of each request: its outcome, and the bytes that were sent.
	Served func(outcome Outcome, bytes int64)
	Logger *slog.Logger
	// Patience is how long who asks may take nothing of what is sent. Defaults to a minute.
	Patience time.Duration
}

// Outcome is how a request ended.
type Outcome string

// The outcomes of requests.
const (
	Sent    Outcome = "sent"    // also in part, and also only its head
	Missing Outcome = "missing" // no such file
	Unknown Outcome = "unknown" // nobody's token
	Refused Outcome = "refused" // not a file of a kind, or not a file
	Away    Outcome = "away"    // the folder is gone, or it is not known yet which kinds there are
	Failed  Outcome = "failed"
)

// Kind is a kind of files, which lie below Prefix in the folder; "" is the top.
type Kind struct{ Name, Prefix string }

// Server sends files. It is safe for concurrent use.
type Server struct {
	cfg    Config
	source atomic.Pointer[source]
	kinds  atomic.Pointer[[]Kind]
}

// source is a [transfer.Source] that there is.
type source struct{ transfer.Source }

// New returns a server that says of everything that it cannot be told, until it has a source
// and kinds.
func New(cfg Config) *Server {
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	return &Server{cfg: cfg}
}

// From sets where files are read. It stays the caller's, to be closed after the last request.
func (s *Server) From(from transfer.Source) { s.source.Store(&source{from}) }

// SetKinds sets which kinds there are.
func (s *Server) SetKinds(kinds []Kind) { s.kinds.Store(&kinds) }

// root is where the files are.
const root = "/files/"

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &answer{ResponseWriter: w, patience: s.cfg.Patience, deadline: http.NewResponseController(w).SetWriteDeadline}
	outcome := s.answer(out, r)
	if s.cfg.Served != nil {
		if outcome != Sent {
			out.sent = 0
		}
		s.cfg.Served(outcome, out.sent)
	}
}

func (s *Server) answer(w *answer, r *http.Request) Outcome {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set(web.SourceHeader, "1")
	secret, _ := token.Bearer(r)
	path, below := strings.CutPrefix(r.URL.Path, root)
	switch {
	case token.Named(s.cfg.Tokens, secret) == "":
		w.Header().Set("WWW-Authenticate", "Bearer")
		return w.say(http.StatusUnauthorized, Unknown, "a token is needed: Authorization: Bearer ...")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return w.say(http.StatusMethodNotAllowed, Refused, "files are only read here")
	case r.ContentLength != 0:
		w.Header().Set("Connection", "close")
		return w.say(http.StatusBadRequest, Refused, "a request has no body")
	case !below:
		// Not 404, which would be taken for a file that is missing.
		return w.say(http.StatusBadRequest, Refused, "files are below "+root)
	case r.URL.RawQuery != "":
		return w.say(http.StatusBadRequest, Refused, "a path has no query")
	}
	from, kinds := s.source.Load(), s.kinds.Load()
	if from == nil || kinds == nil {
		return w.say(http.StatusServiceUnavailable, Away, "it is not known yet what is here")
	}
	if err := from.Check(); err != nil {
		return s.fail(w, r, err)
	}
	if path == "" {
		w.WriteHeader(http.StatusNoContent)
		return Sent
	}
	return s.file(w, r, from, *kinds, path)
}

// file sends what is at a path.
func (s *Server) file(w *answer, r *http.Request, from transfer.Source, kinds []Kind, path string) Outcome {
	if why := transfer.BadPath(path); why != "" {
		return w.say(http.StatusBadRequest, Refused, "the path "+why)
	}
	switch ofKind, tracked, err := s.tracked(r.Context(), kinds, path); {
	case err != nil:
		s.cfg.Logger.WarnContext(r.Context(), "cannot look a resource up, sending no file of it", "path", path, "err", err)
		return w.say(http.StatusServiceUnavailable, Away, "it cannot be told whether there is such a resource")
	case !ofKind:
		return w.say(http.StatusForbidden, Refused, "no kind of files is there")
	case !tracked:
		return w.say(http.StatusNotFound, Missing, "there is no such resource")
	}
	object, err := from.Open(r.Context(), path)
	if err != nil {
		return s.fail(w, r, err)
	}
	defer object.Close()
	content, is := object.(content)
	if !is {
		return s.fail(w, r, fmt.Errorf("%T cannot be sent in parts", object))
	}
	mode, written := content.Described()
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("ETag", content.ETag())
	header.Set(web.ModeHeader, strconv.FormatUint(uint64(mode), 8))
	header.Set(web.WrittenHeader, strconv.FormatInt(written.UnixNano(), 10))
	http.ServeContent(w, r, "", time.Time{}, content)
	return Sent
}

// content is a file of a folder.
type content interface {
	transfer.Described
	io.Seeker
	ETag() string
}

// tracked tells whether a path is one of a kind, and whether the key there is one of a
// resource. Kinds may lie inside each other.
func (s *Server) tracked(ctx context.Context, kinds []Kind, path string) (ofKind, is bool, err error) {
	for _, k := range kinds {
		key, below := strings.CutPrefix(path, k.Prefix+"/")
		if k.Prefix == "" {
			key, below = path, true
		}
		if !below {
			continue
		}
		ofKind = true
		if s.cfg.Tracked == nil {
			return true, true, nil
		}
		if is, err = s.cfg.Tracked(ctx, k.Name, key); is || err != nil {
			return true, is, err
		}
	}
	return ofKind, false, nil
}

// fail tells why a file cannot be sent, in words that tell nothing of this machine.
func (s *Server) fail(w *answer, r *http.Request, err error) Outcome {
	switch {
	case errors.Is(err, transfer.ErrMissing):
		return w.say(http.StatusNotFound, Missing, "there is no such file")
	case errors.Is(err, transfer.ErrUnsafe):
		return w.say(http.StatusForbidden, Refused, "a symbolic link, or something that is no file, is there or on the way")
	case errors.Is(err, transfer.ErrElsewhere), errors.Is(err, transfer.ErrAway):
		s.cfg.Logger.WarnContext(r.Context(), "cannot send a file, its folder is away", "err", err)
		return w.say(http.StatusServiceUnavailable, Away, "the folder of the files is away")
	}
	s.cfg.Logger.WarnContext(r.Context(), "cannot send a file", "path", r.URL.Path, "err", err)
	return w.say(http.StatusInternalServerError, Failed, "the file cannot be read")
}

// answer is a response that ends when who asks takes nothing for too long.
type answer struct {
	http.ResponseWriter
	patience time.Duration
	deadline func(time.Time) error
	sent     int64
}

// Write implements io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	if err := a.deadline(time.Now().Add(a.patience)); err != nil {
		return 0, fmt.Errorf("limit how long a write takes: %w", err)
	}
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

func (a *answer) say(code int, outcome Outcome, why string) Outcome {
	http.Error(a, why, code)
	return outcome
}
