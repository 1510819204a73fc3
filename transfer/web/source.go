package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"casq/transfer"
)

// Config says where files come from.
type Config struct {
	// URL is https://host/path, below which the files are. http:// is for this machine.
	URL string
	// Token is what the server knows us by, as a bearer token; "": nothing.
	Token string
	// CAFile has the certificates of those who may sign the server's, in PEM; "": whom
	// this machine trusts.
	CAFile string
	// Patience is how long the server may say nothing. Defaults to a minute.
	Patience time.Duration
}

// Source reads from a server.
//
// mu guards what follows it.
type Source struct {
	base     string // ends with a slash
	token    string
	client   *http.Client
	patience time.Duration
	pause    time.Duration // see firstPause
	// What the server was seen to be: one that marks its answers, or that has sent a file.
	marked, sent atomic.Bool

	mu     sync.Mutex
	probed time.Time
	answer error // of the last probe
	looked time.Time
	there  bool // the address itself, then
}

// The times and numbers of calls.
const (
	patience    = time.Minute
	dialTime    = 10 * time.Second
	probeTime   = 3 * time.Second
	probeEvery  = 10 * time.Second
	connections = 256
)

// Is tells whether an address is one of such a source. One that is wrong is, too.
func Is(address string) bool {
	return strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://")
}

// OpenSource checks the address and reads the file of certificates. The server may be away.
func OpenSource(cfg Config) (*Source, error) {
	base, err := parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("open file source %q: %w", transfer.RedactAddress(cfg.URL), err)
	}
	if strings.IndexFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return nil, errors.New("open file source: the token has a space, or a character that is not ASCII")
	}
	trust, err := trusted(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	s := &Source{base: base, token: cfg.Token, patience: cmp.Or(cfg.Patience, patience), pause: firstPause}
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSClientConfig:       trust,
			TLSHandshakeTimeout:   dialTime,
			ResponseHeaderTimeout: s.patience,
			IdleConnTimeout:       30 * time.Second,
			MaxIdleConnsPerHost:   connections,
			MaxConnsPerHost:       connections,
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// parse checks an address, and returns it with a slash at its end.
func parse(address string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL")
	case u.User != nil:
		return "", errors.New("it has a user or password, which would be in messages; a token is given by itself")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("it has a query or a fragment")
	case u.Hostname() == "":
		return "", errors.New("it has no host")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", errors.New("over http:// the token and the files could be read and changed on their way; use https://, or a tunnel to this machine")
	}
	return strings.TrimSuffix(u.String(), "/") + "/", nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func trusted(file string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read who may sign the certificates of sources: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read who may sign the certificates of sources: %s has no certificate in PEM", file)
	}
	return cfg, nil
}

// Check implements [transfer.Source]. The server is asked now and then.
func (s *Source) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probed.IsZero() || time.Since(s.probed) >= probeEvery {
		s.answer, s.probed = s.Probe(context.Background()), time.Now()
	}
	return s.answer
}

// Probe asks the server for what it is, and returns [transfer.ErrAway] unless it answers and
// knows us. What it has at the address itself does not matter: that is no file.
func (s *Source) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	response, err := s.call(ctx, http.MethodHead, "", nil)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if err := refusal(response); errors.Is(err, transfer.ErrAway) {
		return err
	}
	return nil
}

// absent decides what a 404 is, which missing says: of a file, or of a server that knows
// nothing of files at the address. Then none of them would be missing: a proxy has lost its
// way, or the address is wrong.
//
// Who sends files of a casq marks its answers. Of another server the address itself exists,
// or some file has come from it.
func (s *Source) absent(ctx context.Context, response *http.Response, missing error) error {
	switch {
	case response.Header.Get(SourceHeader) != "", s.sent.Load() && !s.marked.Load():
		return missing
	case s.marked.Load():
		return fmt.Errorf("%w: it answers %s, which is not of the worker that has answered before: something on the way does", transfer.ErrAway, response.Status)
	}
	there, err := s.exists(ctx)
	switch {
	case err != nil:
		return err
	case s.marked.Load(): // its address has been asked for just now
		return s.absent(ctx, response, missing)
	case !there:
		return fmt.Errorf("%w: it answers %s, also at its address itself, and has sent no file yet: see whether the address is right", transfer.ErrAway, response.Status)
	}
	return missing
}

// exists tells whether the server knows the address itself, which is asked for now and then.
func (s *Source) exists(ctx context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.looked.IsZero() && time.Since(s.looked) < probeEvery {
		return s.there, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	response, err := s.call(ctx, http.MethodHead, "", nil)
	if err != nil {
		return false, err
	}
	_ = response.Body.Close()
	err = refusal(response)
	if errors.Is(err, transfer.ErrAway) {
		return false, err
	}
	s.there, s.looked = !errors.Is(err, transfer.ErrMissing), time.Now()
	return s.there, nil
}

// Close implements [transfer.Source].
func (s *Source) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// call sends a request, whose answer's body is to be closed.
func (s *Source) call(ctx context.Context, method, path string, headers map[string]string) (*http.Response, error) {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+strings.Join(parts, "/"), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask the source: %w", err)
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	request.Header.Set("Accept-Encoding", "identity")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err == nil && response.Header.Get(SourceHeader) != "" {
		s.marked.Store(true)
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, context.Cause(ctx) // we are not interested any more
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transfer.ErrAway, err)
	}
	return response, nil
}

// refusal is what an answer says that is not the file.
func refusal(response *http.Response) error {
	switch code := response.StatusCode; code {
	case http.StatusOK, http.StatusPartialContent, http.StatusNoContent:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: the source answers %s", transfer.ErrMissing, response.Status)
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: it does not know our token (%s)", transfer.ErrAway, response.Status)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: it answers %s", transfer.ErrAway, response.Status)
	default:
		if to := response.Header.Get("Location"); to != "" {
			return fmt.Errorf("the source answers %s and leads to %q, which is not followed: if that is where the files are, its address is to name it",
				response.Status, transfer.Clip(transfer.RedactAddress(to)))
		}
		return fmt.Errorf("the source answers %s", response.Status)
	}
}
