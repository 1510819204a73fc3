package httpreplica

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"casq/replica"
)

// Middleware gives requests their sessions. DB is required, and Header or Cookie.
type Middleware struct {
	DB *replica.DB
	// Objects names what the request deals with. Nil is nothing: then a session knows what
	// its token says. Handlers add to it: [replica.Session.Watch].
	Objects func(*http.Request) []replica.Object
	// Header is the name of the header that carries the token, both ways.
	Header string
	// Cookie is the name of the cookie that carries it.
	Cookie string
	// Keys sign the cookie. The first one signs, all are accepted. None: it is plain.
	Keys [][]byte
	// MaxAge is how long a browser keeps the cookie: longer than any standby is late.
	// Defaults to an hour.
	MaxAge time.Duration
	// Path of the cookie. Defaults to "/".
	Path string
	// Insecure cookies also travel without TLS.
	Insecure bool
	// Trailer names a trailer that has the token of the end of the answer.
	Trailer string
	// Explain names a header of the answer that says which hosts served the reads until
	// then, and why. It is sent where AllowExplain says so.
	Explain string
	// AllowExplain says whether this request may have the header Explain, which names hosts.
	// Nil is never.
	AllowExplain func(*http.Request) bool
}

// Wrap returns a handler that gives each request a session, and calls next.
func (m Middleware) Wrap(next http.Handler) http.Handler {
	if m.DB == nil || m.Header == "" && m.Cookie == "" {
		panic("httpreplica: Middleware needs a DB, and the name of a Header or a Cookie")
	}
	m.MaxAge = cmp.Or(m.MaxAge, time.Hour)
	m.Path = cmp.Or(m.Path, "/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session := m.DB.Session()
		if m.Objects != nil {
			session.Watch(m.Objects(r)...)
		}
		came := m.carried(r)
		for _, token := range came {
			session.Carry(token)
		}
		r = r.WithContext(replica.NewContext(r.Context(), session))
		answer := &response{ResponseWriter: w, middleware: &m, request: r, session: session, came: came}
		if m.Trailer != "" {
			w.Header().Add("Trailer", m.Trailer)
		}
		// Also when the handler panics: whoever answers then has the header.
		defer answer.end()
		next.ServeHTTP(answer, r)
	})
}

const (
	longestToken = 64 // of package replica
	mostTokens   = 16 // that one request brings
	// unreadable is no token: the session reads from the primary, and gets a good one.
	unreadable = "unreadable"
)

// carried returns the tokens that a request brings. Several come from a client that
// did not know which of two answers was the later one, or from a browser that has
// cookies of several paths.
func (m *Middleware) carried(r *http.Request) (tokens []string) {
	if m.Header != "" {
		for _, line := range r.Header.Values(m.Header) {
			if len(line) > mostTokens*(longestToken+2) {
				return []string{unreadable}
			}
			for token := range strings.SplitSeq(line, ",") {
				tokens = append(tokens, strings.TrimSpace(token))
			}
		}
	}
	if m.Cookie != "" {
		for _, cookie := range r.CookiesNamed(m.Cookie) {
			tokens = append(tokens, open(m.Keys, m.Cookie, cookie.Value))
		}
	}
	tokens = slices.DeleteFunc(tokens, func(token string) bool { return token == "" })
	if len(tokens) > mostTokens {
		return []string{unreadable}
	}
	return tokens
}

// put adds the token, unless the client has just that one, and the words that were
// asked for, to the header of the answer.
func (w *response) put() {
	m, header := w.middleware, w.Header()
	if token := w.session.Token(w.request.Context()); token != "" && !slices.Equal(w.came, []string{token}) {
		if m.Header != "" {
			header.Set(m.Header, token)
		}
		if m.Cookie != "" {
			header.Add("Set-Cookie", m.cookie(token).String())
		}
		if header.Get("Cache-Control") == "" {
			header.Set("Cache-Control", "private, no-cache")
		}
	}
	if m.Explain != "" && m.AllowExplain != nil && m.AllowExplain(w.request) {
		for _, choice := range w.session.Choices() {
			header.Add(m.Explain, choice.String())
		}
	}
}

func (m *Middleware) cookie(token string) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Without TLS only by Insecure.
		Name: m.Cookie, Value: seal(m.Keys, m.Cookie, token), Path: m.Path, MaxAge: int(m.MaxAge / time.Second),
		HttpOnly: true, Secure: !m.Insecure, SameSite: http.SameSiteLaxMode,
	}
}
